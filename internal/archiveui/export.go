package archiveui

import (
	"context"
	"net/http"
	"path"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// exportView is the page of an export.
type exportView struct {
	Base                  string
	Title, ID, TaskID     string
	Project, ProjectHref  string
	Account, Tenant, Cost string
	Created, Archived     time.Time
	Count                 int
	Length, Size          string
	Ordered               []fact
	Labels                []fact
	Cards                 []selectable
	Warnings              []string
	Proven                []fact
	Verified              string // when; empty where that is not known here
	Manifest              string
	Shareable             bool
	Previous, Next        string // pages of very large exports
	First, Last           int
}

// exportPageSize is how many clips the page of an export shows at once.
const exportPageSize = 200

// selectable is a card that can be ticked.
type selectable struct {
	card
	Idx  int
	Size string
}

func (u *UI) export(w http.ResponseWriter, r *http.Request, v visit) error {
	if v.shared != nil && v.shared.idx != allClips {
		return errNotFound
	}
	first := v.clips[0]
	view := exportView{
		Base: v.base(), Title: exportTitle(first), ID: first.ExportID, TaskID: shown(first.ExportTaskID, maxTitleShown),
		Project: shown(first.ProjectID, maxTitleShown), Created: first.CreatedAt, Archived: first.ArchivedAt, Count: len(v.clips),
		Shareable: v.shared == nil && len(u.shares.secrets) > 0,
	}
	var length, size int64
	proofs := map[string]int{}
	view.turnTo(filterOf(r.URL.Query()).Page)
	for i, l := range v.clips {
		length, size = length+l.DurationMS, size+l.Size
		if i+1 >= view.First && i < view.Last {
			view.Cards = append(view.Cards, selectable{v.card(l), l.Idx, bytesIn(l.Size)})
		}
		for _, p := range proven(l.Proofs) {
			proofs[p]++
		}
	}
	view.Length, view.Size = period(length), bytesIn(size)
	if v.shared != nil {
		return u.render(w, r, http.StatusOK, v, "export", view) // what it cost is not for everybody
	}
	view.ProjectHref = filter{Project: first.ProjectID}.href(projectPath)
	view.Ordered, view.Cost = ordered(first.Settings), decimal(first.CostUsage)
	view.Account = shown(first.Account, maxTitleShown)
	if first.Tenant != export.DefaultTenant {
		view.Tenant = shown(first.Tenant, maxTitleShown)
	}
	for _, name := range sortedKeys(first.Labels) {
		view.Labels = append(view.Labels, fact{shown(name, 80), shown(first.Labels[name], 200)})
	}
	for _, name := range sortedKeys(proofs) {
		view.Proven = append(view.Proven, fact{name, count(proofs[name], "clip", "clips")})
	}
	view.Manifest = path.Base(first.Manifest)
	u.fromManifest(r, &view, first.Manifest)
	u.lastVerified(r.Context(), &view, first.Manifest)
	return u.render(w, r, http.StatusOK, v, "export", view)
}

// turnTo chooses the page, the last one for one beyond it.
func (v *exportView) turnTo(page int) {
	pages := max(1, (v.Count+exportPageSize-1)/exportPageSize)
	page = min(page, pages)
	v.First, v.Last = (page-1)*exportPageSize+1, min(page*exportPageSize, v.Count)
	if page > 1 {
		v.Previous = v.Base + "?page=" + strconv.Itoa(page-1)
	}
	if page < pages {
		v.Next = v.Base + "?page=" + strconv.Itoa(page+1)
	}
}

// manifestTimeout is how long a page waits for what it can do without.
const manifestTimeout = 3 * time.Second

// fromManifest adds what the manifest alone has. The page does without it: the
// catalog has all else.
func (u *UI) fromManifest(r *http.Request, view *exportView, key string) {
	ctx, cancel := context.WithTimeout(r.Context(), manifestTimeout)
	defer cancel()
	m, found, err := u.o.Files.ReadManifest(ctx, key)
	if err != nil || !found {
		view.Warnings = append(view.Warnings, "The manifest can't be read just now.")
		u.log.WarnContext(r.Context(), "a manifest could not be read", logkey.Manifest, key, logkey.Error, err)
		return
	}
	for _, warning := range m.Warnings {
		view.Warnings = append(view.Warnings, shown(warning, maxTitleShown))
	}
}

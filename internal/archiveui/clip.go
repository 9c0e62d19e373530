package archiveui

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/fault"
)

// ofExport finds the export that the path names, as far as the visitor may see it.
// One of another tenant is not there.
func (u *UI) ofExport(next page) page {
	return func(w http.ResponseWriter, r *http.Request, v visit) error {
		v.clips = u.o.Clips.Export(r.PathValue("id"))
		if len(v.clips) == 0 || v.shared == nil && !v.viewer.sees(v.clips[0].Tenant) {
			return errNotFound
		}
		return next(w, r, v)
	}
}

// ofClip finds the clip that the path names.
func (u *UI) ofClip(next page) page {
	return u.ofExport(func(w http.ResponseWriter, r *http.Request, v visit) error {
		idx, ok := index(r.PathValue("idx"))
		at := slices.IndexFunc(v.clips, func(l catalog.Line) bool { return l.Idx == idx })
		if !ok || at < 0 {
			return errNotFound
		}
		v.clip = v.clips[at]
		return next(w, r, v)
	})
}

// index is the number of a clip in a path, in its only form.
func index(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == text
}

// clipView is the page of a clip.
type clipView struct {
	Base                       string // of the clip
	Title, Desc                string
	Play, Poster, Type         string
	Length, Size, Score        string
	Upright                    bool
	Project, ProjectHref       string
	Export, ExportHref         string
	Archived                   time.Time
	Tags                       []anchor
	Labels                     []string
	Source                     string
	Resolution, Ratio          string
	Name, SHA256               string
	Proven                     []string
	Warning                    string
	Previous, Next             string
	Others                     []card
	Shareable, CopyFromAddress bool
}

// anchor is a text with where it leads.
type anchor struct{ Text, Href string }

// maxOthers is how many other clips of the export the page of a clip shows.
const maxOthers = 12

func (u *UI) clip(w http.ResponseWriter, r *http.Request, v visit) error {
	l := v.clip
	base := v.base() + "/" + strconv.Itoa(l.Idx)
	view := clipView{
		Base: base, Title: titleOf(l), Desc: shown(l.Desc, maxDescShown), Play: base + "/play", Type: l.ContentType,
		Length: period(l.DurationMS), Size: bytesIn(l.Size), Score: scoreOf(l), Upright: l.Ratio == "RATIO_9_16" || l.Ratio == "RATIO_4_5",
		Archived: l.ArchivedAt.UTC(), Resolution: nameOf(resolutions, l.Resolution), Ratio: nameOf(ratios, l.Ratio),
		Name: path.Base(l.Key), SHA256: l.SHA256, Proven: proven(l.Proofs), Warning: shown(l.Warning, maxTitleShown),
		Export:    exportTitle(l),
		Shareable: v.shared == nil && len(u.shares.secrets) > 0,
	}
	if l.Thumbnail != nil {
		view.Poster = base + "/poster"
	}
	if l.EndMS > l.BeginMS {
		view.Source = clock(l.BeginMS) + " – " + clock(l.EndMS)
	}
	for _, tag := range l.Tags {
		if text := shown(tag, 60); text != "" {
			view.Tags = append(view.Tags, anchor{text, filter{Tag: tag}.href(allPath)})
		}
	}
	whole := v.shared == nil || v.shared.idx == allClips
	if v.shared == nil {
		view.Project, view.ProjectHref = shown(l.ProjectID, maxTitleShown), filter{Project: l.ProjectID}.href(projectPath)
		for _, name := range sortedKeys(l.Labels) {
			view.Labels = append(view.Labels, shown(name+" = "+l.Labels[name], 120))
		}
	}
	if whole {
		view.ExportHref = v.base()
		u.neighbors(&view, v)
	}
	return u.render(w, r, http.StatusOK, v, "clip", view)
}

// neighbors adds the clips before and after, and a few around these.
func (u *UI) neighbors(view *clipView, v visit) {
	at := slices.IndexFunc(v.clips, func(l catalog.Line) bool { return l.Idx == v.clip.Idx })
	href := func(n int) string { return v.base() + "/" + strconv.Itoa(v.clips[n].Idx) }
	if at > 0 {
		view.Previous = href(at - 1)
	}
	if at < len(v.clips)-1 {
		view.Next = href(at + 1)
	}
	from := max(0, min(at-maxOthers/2, len(v.clips)-maxOthers-1))
	for n := from; n < len(v.clips) && len(view.Others) < maxOthers; n++ {
		if n != at {
			view.Others = append(view.Others, v.card(v.clips[n]))
		}
	}
}

// card is a clip of the export that the visitor looks at. The project is nobody's
// business who has only a shared link.
func (v visit) card(l catalog.Line) card {
	c := cardOf(l, v.base())
	if v.shared != nil {
		c.Project = ""
	}
	return c
}

// file leads to a file of a clip in S3, by a link that ends soon.
func (u *UI) file(w http.ResponseWriter, r *http.Request, v visit) error {
	key := v.clip.Key
	lasts, cache := u.linkTTL(v), "no-store"
	switch r.PathValue("file") {
	case "play", "download":
	case "poster":
		if v.clip.Thumbnail == nil {
			return errNotFound
		}
		// The link of a picture is used for as long as it can be, so that the browser
		// need not load the picture again.
		key, cache = v.clip.Thumbnail.Key, fmt.Sprintf("private, max-age=%d", int(lasts.Seconds()*2/3))
	default:
		return errNotFound
	}
	if !u.o.Files.IsFile(key) {
		return errNotFound
	}
	at, err := u.o.Files.Presign(r.Context(), key, "", lasts)
	if r.Method == http.MethodHead { // which S3 refuses under a signature for a GET
		at, err = u.o.Files.PresignHead(r.Context(), key, lasts)
	}
	if err != nil {
		return fmt.Errorf("%w (%s)", errStorage, fault.SentenceOf(err))
	}
	w.Header().Set("Location", at)
	w.Header().Set("Cache-Control", cache)
	w.WriteHeader(http.StatusFound)
	return nil
}

// linkTTL is how long a link of S3's is good for: never longer than a shared link
// that led to it.
func (u *UI) linkTTL(v visit) time.Duration {
	if v.shared == nil {
		return u.o.LinkTTL
	}
	return max(time.Second, min(u.o.LinkTTL, v.shared.until.Sub(u.now())))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

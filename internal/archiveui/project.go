package archiveui

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/catalog"
)

// exportRow is an export in the list of a project's.
type exportRow struct {
	Href, Title, Length, Cost string
	Clips                     int
	At                        time.Time
}

// maxExports is how many exports the page of a project lists; the clips of all are there.
const maxExports = 200

func (g *gridView) addExports(exports []catalog.Summary) {
	var cost float64
	var length int64
	for i, e := range exports {
		cost, length = cost+e.CostUsage, length+e.DurationMS
		if i < maxExports {
			g.Exports = append(g.Exports, exportRow{
				Href: "/archive/exports/" + url.PathEscape(e.ExportID), Clips: e.Clips, At: e.ArchivedAt,
				Title:  exportTitle(catalog.Line{ExportName: e.ExportName, ExportID: e.ExportID}),
				Length: period(e.DurationMS), Cost: decimal(e.CostUsage),
			})
		}
	}
	g.Sum = count(len(exports), "export", "exports") + ", " + period(length) + ", " + decimal(cost) + " units"
}

// projectRow is a project in the list of all.
type projectRow struct {
	Href, Name string
	Clips      int
}

// projectsView is the list of all projects.
type projectsView struct {
	Filter    string
	Total     int
	Projects  []projectRow
	Truncated bool
}

const maxProjects = 500

func (u *UI) projects(w http.ResponseWriter, r *http.Request, v visit) error {
	wanted := strings.TrimSpace(r.URL.Query().Get("name"))
	if len(wanted) > maxFilter {
		wanted = ""
	}
	view := projectsView{Filter: wanted}
	for _, p := range u.o.Clips.Facets(v.viewer.tenant).Projects {
		if !strings.Contains(catalog.Normalize(p.Value), catalog.Normalize(wanted)) {
			continue
		}
		view.Total++
		if len(view.Projects) < maxProjects {
			view.Projects = append(view.Projects, projectRow{filter{Project: p.Value}.href(projectPath), shown(p.Value, maxTitleShown), p.Clips})
		}
	}
	view.Truncated = view.Total > len(view.Projects)
	return u.render(w, r, http.StatusOK, v, "projects", view)
}

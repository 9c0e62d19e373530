package archiveui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed pages/*.html static
var embedded embed.FS

// version changes with the style and the script, so that browsers can keep them.
var version = func() string {
	sum := sha256.New()
	_ = fs.WalkDir(embedded, "static", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := embedded.ReadFile(name)
			sum.Write(b)
		}
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:6])
}()

var functions = template.FuncMap{
	"day": day, "moment": moment, "number": number, "count": count,
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"version": func() string { return version },
}

// pages are the templates by name, each with the frame around it.
var pages = func() map[string]*template.Template {
	all := map[string]*template.Template{}
	frame := template.Must(template.New("frame.html").Funcs(functions).ParseFS(embedded, "pages/frame.html", "pages/parts.html"))
	for _, name := range []string{"grid", "projects", "clip", "export", "share", "login", "error"} {
		all[name] = template.Must(template.Must(frame.Clone()).ParseFS(embedded, "pages/"+name+".html"))
	}
	return all
}()

// frame is what is around each page.
type frame struct {
	Viewer string // empty for who is not signed in
	// Session says that the viewer can sign out.
	Session bool
	Shared  bool
	Until   time.Time
	Finder  bool // the page has a search field of its own
	Page    any
}

// render sends a page.
func (u *UI) render(w http.ResponseWriter, _ *http.Request, status int, v visit, name string, view any) error {
	f := frame{Viewer: v.viewer.name, Session: v.viewer.session, Finder: name == "grid", Page: view}
	if v.shared != nil {
		f.Shared, f.Until = true, v.shared.until
	}
	var page bytes.Buffer
	if err := pages[name].Execute(&page, f); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // a client that has gone is not our fault
	return nil
}

var contentTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// static serves the style, the script and the icon. They are no secrets: the login
// needs them.
func (u *UI) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b, err := embedded.ReadFile("static/" + name)
	if err != nil || strings.ContainsAny(name, `/\`) {
		u.fail(w, r, visit{}, errNotFound)
		return
	}
	w.Header().Set("Content-Type", contentTypes[path.Ext(name)])
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

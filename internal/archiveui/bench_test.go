package archiveui

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkPages is what a page costs the server with 100,000 clips.
func BenchmarkPages(b *testing.B) {
	s := newSite(b, local)
	s.index.Add(many(100_000)...)
	for name, path := range map[string]string{
		"first": "/archive/", "word": "/archive/?q=lighthouse", "words": "/archive/?q=lighthouse+bridges+größe", "nothing": "/archive/?q=nothing+like+it",
		"score": "/archive/?sort=score&page=100", "title": "/archive/?sort=title", "projects": "/archive/projects", "clip": "/archive/exports/exp_77/1",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w := httptest.NewRecorder()
				s.ui.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}

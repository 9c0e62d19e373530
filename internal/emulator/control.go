package emulator

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
)

// maxControl bounds what is posted to the control routes, in bytes, and maxFaults
// how many faults may be in force.
const (
	maxControl = 1 << 20
	maxFaults  = 1000
)

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	for _, root := range []string{"/api/v2", "/open/v2"} {
		for _, c := range calls {
			s.mux.HandleFunc("POST "+root+c.submits, s.counted(c.submitRoute(), func(w *recorder, r *http.Request) { s.submit(c, w, r) }))
			s.mux.HandleFunc("GET "+root+c.reads+"/{taskId}", s.counted(c.readRoute(), func(w *recorder, r *http.Request) { s.read(c, w, r) }))
			s.mux.HandleFunc(root+c.submits, s.counted("other", s.wrongMethod))
			s.mux.HandleFunc(root+c.reads+"/{taskId}", s.counted("other", s.wrongMethod))
		}
		s.mux.HandleFunc("POST "+root+"/upload/single-file", s.counted(RouteUpload, s.askUpload))
	}
	s.mux.HandleFunc("PUT /upload/{identity}", s.counted("put", s.putUpload))
	s.mux.HandleFunc("GET /cdn/"+kindClip+"/{task}/{file}", s.counted(RouteClip, s.serveClip))
	s.mux.HandleFunc("GET /cdn/"+kindThumbnail+"/{task}/{file}", s.counted(RouteThumbnail, s.serveThumbnail))
	s.mux.HandleFunc("GET /_emulator/state", func(w http.ResponseWriter, _ *http.Request) { show(w, s.State()) })
	s.mux.HandleFunc("POST /_emulator/reset", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	s.mux.HandleFunc("GET /_emulator/faults", func(w http.ResponseWriter, _ *http.Request) { show(w, s.State().Faults) })
	s.mux.HandleFunc("POST /_emulator/faults", s.postFaults)
	s.mux.HandleFunc("DELETE /_emulator/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.Clear("")
		w.WriteHeader(http.StatusNoContent)
	})
	s.mux.HandleFunc("DELETE /_emulator/faults/{id}", s.deleteFault)
	s.mux.HandleFunc("GET /_emulator/limits", func(w http.ResponseWriter, _ *http.Request) { show(w, s.State().Limits) })
	s.mux.HandleFunc("PUT /_emulator/limits", s.putLimits)
	s.mux.HandleFunc("GET /_emulator/{$}", s.page)
	s.mux.Handle("GET /{$}", http.RedirectHandler("/_emulator/", http.StatusFound))
	s.mux.HandleFunc("/", s.counted("other", s.elsewhere))
}

// ServeHTTP is the whole provider.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client may have left
}

func complain(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(map[string]string{"error": err.Error()}))
}

// decodeStrict reads one JSON value and refuses fields that v doesn't have.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("not understood: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not understood: something follows the JSON value")
	}
	return nil
}

// decodeFaults reads one fault or a list of them, and checks them all.
func decodeFaults(data []byte) ([]Fault, error) {
	var list []Fault
	if first := bytes.TrimSpace(data); len(first) > 0 && first[0] == '[' {
		if err := decodeStrict(data, &list); err != nil {
			return nil, err
		}
	} else {
		list = make([]Fault, 1)
		if err := decodeStrict(data, &list[0]); err != nil {
			return nil, err
		}
	}
	var errs []error
	for i, f := range list {
		if err := f.validate(); err != nil {
			errs = append(errs, fmt.Errorf("fault %d: %w", i+1, err))
		}
	}
	return list, errors.Join(errs...)
}

func (s *Server) postFaults(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControl))
	if err != nil {
		complain(w, http.StatusBadRequest, err)
		return
	}
	list, err := decodeFaults(data)
	if err == nil && len(s.State().Faults)+len(list) > maxFaults {
		err = fmt.Errorf("at most %d faults can be in force", maxFaults)
	}
	if err != nil {
		complain(w, http.StatusBadRequest, err)
		return
	}
	ids := make([]string, 0, len(list))
	for _, f := range list {
		id, err := s.Inject(f)
		if err != nil {
			complain(w, http.StatusBadRequest, err)
			return
		}
		ids = append(ids, id)
	}
	show(w, map[string][]string{"ids": ids})
}

func (s *Server) deleteFault(w http.ResponseWriter, r *http.Request) {
	if !s.Clear(r.PathValue("id")) {
		complain(w, http.StatusNotFound, errors.New("no such fault"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) putLimits(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControl))
	var limits Limits
	if err == nil {
		err = decodeStrict(data, &limits)
	}
	if err == nil {
		err = s.SetLimits(limits)
	}
	if err != nil {
		complain(w, http.StatusBadRequest, err)
		return
	}
	show(w, s.State().Limits)
}

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page tells a person what this is.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	var out bytes.Buffer
	err := pageTemplate.Execute(&out, map[string]any{
		"Base": s.base(r), "State": s.State(), "AnyKey": len(s.opts.Keys) == 0,
	})
	if err != nil {
		complain(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'")
	_, _ = w.Write(out.Bytes())
}

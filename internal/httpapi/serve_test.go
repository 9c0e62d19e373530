package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// served is a Server at work; its handler answers once it is let go.
type served struct {
	url     string
	stop    context.CancelFunc
	ended   chan error
	arrived chan struct{}
	letGo   chan struct{}
}

func serveSlowly(t *testing.T, change func(*Server)) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sv := &served{url: "http://" + l.Addr().String(), ended: make(chan error, 1), arrived: make(chan struct{}, 10), letGo: make(chan struct{})}
	s := &Server{Logger: slog.New(slog.DiscardHandler), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sv.arrived <- struct{}{}
		select {
		case <-sv.letGo:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, "done")
	})}
	change(s)
	var ctx context.Context
	ctx, sv.stop = context.WithCancel(t.Context())
	go func() { sv.ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() { sv.stop(); http.DefaultClient.CloseIdleConnections() })
	return sv
}

func (sv *served) get() chan string {
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get(sv.url)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- string(body)
	}()
	return got
}

func TestWhatIsUnderWayFinishes(t *testing.T) {
	stopping := make(chan struct{})
	sv := serveSlowly(t, func(s *Server) { s.OnStop = func() { close(stopping) } })
	got := sv.get()
	<-sv.arrived
	sv.stop()
	<-stopping
	select {
	case err := <-sv.ended:
		t.Fatalf("it ended in the middle of a request: %v", err)
	default:
	}
	close(sv.letGo)
	if body := <-got; body != "done" {
		t.Errorf("got %s", body)
	}
	if err := <-sv.ended; err != nil {
		t.Error(err)
	}
	if body := <-sv.get(); !strings.Contains(body, "refused") {
		t.Errorf("it still serves: %s", body)
	}
}

func TestWhatTakesTooLongIsCut(t *testing.T) {
	sv := serveSlowly(t, func(s *Server) { s.StopTimeout = 20 * time.Millisecond })
	got := sv.get()
	<-sv.arrived
	sv.stop()
	if err := <-sv.ended; err == nil || !strings.Contains(err.Error(), "still under way after 20ms") {
		t.Errorf("%v", err)
	}
	if body := <-got; body == "done" {
		t.Error("it was not cut")
	}
}

func TestNewRequestsAreServedWhileLoadBalancersNotice(t *testing.T) {
	stopping := make(chan struct{})
	sv := serveSlowly(t, func(s *Server) {
		s.DrainDelay = 2 * time.Second
		s.OnStop = func() { close(stopping) }
	})
	close(sv.letGo)
	sv.stop()
	<-stopping
	if body := <-sv.get(); body != "done" {
		t.Errorf("got %s", body)
	}
	if err := <-sv.ended; err != nil {
		t.Error(err)
	}
}

func TestAnAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &Server{Logger: slog.New(slog.DiscardHandler), Handler: http.NotFoundHandler()}
	if err := s.ListenAndServe(t.Context(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
}

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"golang.org/x/net/netutil"
)

// The limits on connections. A download is redirected to S3, so that no answer
// of ours takes long.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 30 * time.Second
	maxHeader         = 32 << 10

	defaultStopTimeout = 10 * time.Second
)

// Server serves a handler until its context ends, then lets what is under way
// finish.
type Server struct {
	Handler http.Handler
	Logger  *slog.Logger
	// OnStop is called when stopping begins, such as [API.Drain]; may be nil.
	OnStop func()
	// DrainDelay is how long new requests are still served after that, for load
	// balancers to notice; none when zero.
	DrainDelay time.Duration
	// StopTimeout is how long requests under way may take then; 10 s when zero.
	StopTimeout time.Duration
	// MaxConnections is how many connections are open at once. Past three quarters
	// of them a new one closes that which has been quiet for longest. When zero, a
	// quarter of the files that the process may have open, at most 1024.
	MaxConnections int
}

// ListenAndServe is [Server.Serve] on a TCP address.
func (s *Server) ListenAndServe(ctx context.Context, addr string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	return s.Serve(ctx, l)
}

// Serve serves l, which it closes, until ctx ends. It returns nil after a clean
// stop, and an error if requests had to be cut.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	limit := s.MaxConnections
	if limit <= 0 {
		limit = defaultMaxConnections()
	}
	quiet := &quietConnections{limit: limit * 3 / 4, quiet: map[net.Conn]time.Time{}}
	srv := &http.Server{
		Handler: s.Handler, ConnState: quiet.changed, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(netutil.LimitListener(l, limit)) }()
	s.Logger.Info("HTTP server started", logkey.Address, l.Addr().String())
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	return s.stop(srv, ended)
}

func (s *Server) stop(srv *http.Server, ended <-chan error) error {
	if s.OnStop != nil {
		s.OnStop()
	}
	if s.DrainDelay > 0 {
		select {
		case err := <-ended:
			return fmt.Errorf("serve: %w", err)
		case <-time.After(s.DrainDelay):
		}
	}
	timeout := s.StopTimeout
	if timeout <= 0 {
		timeout = defaultStopTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests were still under way after %s: %w", timeout, errors.Join(err, srv.Close()))
	}
	if closed := <-ended; !errors.Is(closed, http.ErrServerClosed) {
		err = errors.Join(err, closed)
	}
	s.Logger.Info("HTTP server stopped")
	return err
}

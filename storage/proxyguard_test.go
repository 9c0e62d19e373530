package storage

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// A portal, a load balancer or a web server in S3's place answers with pages of
// its own. Whatever they say, nothing is missing, nothing is there, and nothing
// is broken: S3 did not answer.
func TestAPageIsNoAnswerOfS3(t *testing.T) {
	t.Parallel()
	srv := s3test.Start(t)
	link := serveFile(t, clipOf(1<<20, 1))
	for _, page := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"a portal", "text/html", "<html>Please log in</html>", http.StatusOK},
		{"a portal in another case", "Text/HTML; Charset=utf-8", "<html>Please log in</html>", http.StatusOK},
		{"a web server without that page", "text/html", "<html>404 Not Found</html>", http.StatusNotFound},
	} {
		t.Run(page.name, func(t *testing.T) {
			endpoint := newS3Proxy(t, srv, func(_ string, _ int, w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
				w.Header().Set("Content-Type", page.contentType)
				w.WriteHeader(page.status)
				_, _ = io.WriteString(w, page.body)
				return true
			})
			a := newArchive(t, &s3test.Server{Endpoint: endpoint})
			for name, do := range map[string]func(context.Context) error{
				"read a receipt":  func(ctx context.Context) error { _, _, err := a.Receipt(ctx, "e"); return err },
				"write a receipt": func(ctx context.Context) error { return a.SyncReceipt(ctx, Receipt{ID: "e", State: ReceiptOpen}) },
				"look":            func(ctx context.Context) error { _, _, err := a.Stat(ctx, "k"); return err },
				"mirror": func(ctx context.Context) error {
					_, err := a.Mirror(ctx, Job{Export: "e", Key: "k.mp4", Link: link})
					return err
				},
				"check": a.Check,
			} {
				err := do(t.Context())
				if fault.ClassOf(err) != fault.Retry || !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s: %v (%v)", name, err, fault.ClassOf(err))
				}
			}
		})
	}
}

// S3 itself says NoSuchKey of what is missing. A bare 404 may be anybody's, and
// that there is no receipt decides whether an export is paid for.
func TestABare404IsNoWordOnAReceipt(t *testing.T) {
	t.Parallel()
	endpoint := newS3Proxy(t, s3test.Start(t), func(_ string, _ int, w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	a := newArchive(t, &s3test.Server{Endpoint: endpoint})
	if _, _, err := a.Receipt(t.Context(), "e"); fault.ClassOf(err) != fault.Retry || !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v (%v)", err, fault.ClassOf(err))
	}
}

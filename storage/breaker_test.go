package storage

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

// fakeS3 is an S3 behind a breaker: it fails reads and writes as it is set to, and
// counts what it is asked.
type fakeS3 struct {
	readErr, writeErr         error
	requests                  map[string]int
	readProbes, writtenProbes int
}

func (f *fakeS3) do(ctx context.Context, r request) error {
	f.requests[r.name]++
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if sides[r.name] == writes {
		return f.writeErr
	}
	return f.readErr
}

func (f *fakeS3) probeRead(context.Context) error {
	f.readProbes++
	return f.readErr
}

func (f *fakeS3) probeWrite(context.Context) error {
	f.writtenProbes++
	return f.writeErr
}

// status is an answer of S3.
func status(code int) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code, Header: http.Header{}}}, Err: errors.New(http.StatusText(code)),
	}}
}

func withBreaker(t *testing.T, test func(t *testing.T, f *fakeS3, b *breaker)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeS3{requests: map[string]int{}}
		time.Sleep(time.Hour) // so that nothing seems recent
		test(t, f, newBreaker(f, f, slog.New(slog.DiscardHandler)))
	})
}

// An S3 that reads and refuses writes stops the writes, and those alone.
func TestBreakerOnRefusedWrites(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		put, head := request{name: "PutObject"}, request{name: "HeadObject"}
		f.writeErr = status(http.StatusForbidden)
		began := time.Now()
		for range breakerThreshold {
			_ = b.do(t.Context(), head) // reads that succeed in between change nothing
			if err := b.do(t.Context(), put); httpStatus(err) != http.StatusForbidden {
				t.Fatal(err)
			}
		}
		err := b.do(t.Context(), put)
		if !errors.Is(err, ErrUnavailable) || fault.RetryAfterOf(err) != breakerWait || f.requests["PutObject"] != breakerThreshold {
			t.Errorf("%v after %d requests, again after %s", err, f.requests["PutObject"], fault.RetryAfterOf(err))
		}
		if h := b.health(); !h.Open || !h.Since.Equal(began) || !h.Next.Equal(began.Add(breakerWait)) || !strings.Contains(h.Sentence, "writes") {
			t.Errorf("%+v", h)
		}
		if err := b.do(t.Context(), head); err != nil {
			t.Errorf("a read is refused as well: %v", err)
		}
		for time.Since(began) < 50*time.Second { // the first probe is due at once, the next after a minute
			time.Sleep(time.Second)
			if err := b.do(t.Context(), put); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			if err := b.check(t.Context()); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if f.writtenProbes != 1 || f.requests["PutObject"] != breakerThreshold {
			t.Errorf("%d probes and %d requests were written", f.writtenProbes, f.requests["PutObject"])
		}
		f.writeErr = nil
		time.Sleep(20 * time.Second)
		if err := b.do(t.Context(), put); err != nil || f.writtenProbes != 2 || b.health().Open {
			t.Errorf("%v after %d probes: %+v", err, f.writtenProbes, b.health())
		}
	})
}

// An S3 that is away is asked by reads until it is back, which costs nothing.
func TestBreakerOnASilentServer(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		f.readErr = errors.New("connection refused")
		for range breakerThreshold {
			_ = b.do(t.Context(), request{name: "HeadObject"})
		}
		time.Sleep(breakerWait + time.Second)
		if err := b.do(t.Context(), request{name: "HeadObject"}); !errors.Is(err, ErrUnavailable) || f.readProbes != 1 {
			t.Errorf("%v after %d probes", err, f.readProbes)
		}
		f.readErr = nil
		time.Sleep(breakerWait + time.Second)
		if err := b.do(t.Context(), request{name: "HeadObject"}); err != nil || f.readProbes != 2 || f.writtenProbes != 0 {
			t.Errorf("%v after %d and %d probes", err, f.readProbes, f.writtenProbes)
		}
	})
}

// What is missing, taken or given up is not S3's failure, and neither is that of
// what the archive can do without.
func TestWhatOpensNoBreaker(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 * breakerThreshold {
			f.readErr, f.writeErr = status(http.StatusNotFound), status(http.StatusPreconditionFailed)
			_ = b.do(t.Context(), request{name: "HeadObject"})
			_ = b.do(t.Context(), request{name: "PutObject"})
			f.readErr = status(http.StatusForbidden)
			_ = b.do(t.Context(), request{name: "GetObjectTagging"})
			_ = b.do(gone, request{name: "PutObject"})
		}
		if h := b.health(); h.Open {
			t.Errorf("%+v", h)
		}
	})
}

// A check writes once a minute at most, and not while others write.
func TestCheckWritesSeldom(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		check := func(length time.Duration, busy bool) {
			t.Helper()
			for began := time.Now(); time.Since(began) < length; time.Sleep(10 * time.Second) {
				if busy {
					_ = b.do(t.Context(), request{name: "PutObject"})
				}
				if err := b.check(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		check(10*time.Minute, false)
		if f.writtenProbes != 10 {
			t.Errorf("idle for ten minutes: %d writes", f.writtenProbes)
		}
		f.writtenProbes = 0
		check(10*time.Minute, true)
		if f.writtenProbes != 0 {
			t.Errorf("busy for ten minutes: %d writes", f.writtenProbes)
		}
		f.writeErr = status(http.StatusForbidden)
		time.Sleep(2 * probeWriteEvery)
		for range 3 {
			if err := b.check(t.Context()); httpStatus(err) != http.StatusForbidden || f.writtenProbes != 1 {
				t.Errorf("%v after %d writes", err, f.writtenProbes)
			}
		}
	})
}

// An S3 that takes small documents and refuses clips stops all, and shows by a clip alone
// that it takes them again.
func TestBreakerOnRefusedClips(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		tries := 0
		carry := func(key string, err error) error {
			_, err = b.transfer(t.Context(), key, func() (Result, error) { tries++; return Result{}, err })
			_ = b.do(t.Context(), request{name: "PutObject"}) // receipts are taken all the while
			return err
		}
		full := s3Fault(t.Context(), "archiving b/0.mp4", status(http.StatusInsufficientStorage))
		for range 3 { // one export, however often, may be refused for what it is
			_ = carry("a/0.mp4", status(http.StatusForbidden))
			_ = carry("a/1.mp4", status(http.StatusGatewayTimeout))
		}
		_ = carry("b/0.mp4", fault.New(fault.Retry, "the link is cut", nil)) // nor does a link say anything of S3
		if b.health().Open {
			t.Fatalf("%+v", b.health())
		}
		began := time.Now()
		_ = carry("b/0.mp4", full)
		h := b.health()
		if !h.Open || !h.Since.Equal(began) || h.WantsClip || !strings.Contains(h.Sentence, "clips") || !strings.Contains(h.Sentence, "archiving b/0.mp4 failed") {
			t.Errorf("%+v", h)
		}
		tries = 0
		for time.Since(began) < 10*time.Minute {
			time.Sleep(time.Second)
			if err := b.check(t.Context()); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			if asked := tries; b.health().WantsClip {
				if err := carry("b/0.mp4", full); errors.Is(err, errOpen) || tries != asked+1 || b.health().WantsClip {
					t.Fatalf("%v, %d tries: %+v", err, tries, b.health())
				}
			} else if err := carry("b/0.mp4", full); !errors.Is(err, errOpen) {
				t.Fatal(err)
			}
		}
		if tries < 10 || tries > 14 {
			t.Errorf("%d transfers in ten minutes", tries)
		}
		time.Sleep(longestTransferWait)
		if err := carry("b/0.mp4", nil); err != nil || b.health().Open || b.check(t.Context()) != nil {
			t.Errorf("%v: %+v", err, b.health())
		}
	})
}

// With no clip left that could show it, S3 is believed to take them again.
func TestBreakerOnRefusedClipsThatAreGone(t *testing.T) {
	withBreaker(t, func(t *testing.T, _ *fakeS3, b *breaker) {
		for _, key := range []string{"a/0.mp4", "b/0.mp4"} {
			_, _ = b.transfer(t.Context(), key, func() (Result, error) { return Result{}, status(http.StatusForbidden) })
		}
		time.Sleep(transfersForgotten)
		if err := b.check(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if err := b.check(t.Context()); err != nil || b.health().Open {
			t.Errorf("%v: %+v", err, b.health())
		}
	})
}

// Whatever S3 refuses clips with, it takes none, and a probe that is refused otherwise
// does not show the contrary.
func TestBreakerOnClipsRefusedInAnyWay(t *testing.T) {
	for _, code := range []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusForbidden} {
		withBreaker(t, func(t *testing.T, _ *fakeS3, b *breaker) {
			refuse := func(key string, code int) {
				_, _ = b.transfer(t.Context(), key, func() (Result, error) { return Result{}, status(code) })
			}
			refuse("a/0.mp4", code)
			refuse("b/0.mp4", code)
			if !b.health().Open {
				t.Fatalf("%d: closed", code)
			}
			time.Sleep(longestTransferWait)
			refuse("b/0.mp4", http.StatusRequestEntityTooLarge)
			if !b.health().Open {
				t.Errorf("%d: closed by a probe that was refused", code)
			}
		})
	}
}

// Where nothing shows whether S3 refuses all clips or just those of some exports, one
// export is ordered after an hour, to see.
func TestBreakerOnExportsThatAreRefusedForThemselves(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		carry := func(key string, err error) {
			_, _ = b.transfer(t.Context(), key, func() (Result, error) { return Result{}, err })
		}
		bad := func(length time.Duration) {
			for began := time.Now(); time.Since(began) < length; time.Sleep(time.Minute) {
				carry("a/0.mp4", status(http.StatusForbidden))
				carry("b/0.mp4", status(http.StatusForbidden))
			}
		}
		bad(time.Hour - time.Minute)
		if b.health().WantsOrder || b.mayOrder("c") == nil {
			t.Fatal("ordered within the hour")
		}
		bad(2 * time.Minute)
		if !b.health().WantsOrder || b.mayOrder("c") != nil || b.mayOrder("c") != nil {
			t.Fatalf("nothing is ordered after an hour: %+v", b.health())
		}
		if b.health().WantsOrder || b.mayOrder("d") == nil {
			t.Error("more than one is ordered")
		}
		bad(30 * time.Minute)
		carry("c/0.mp4", status(http.StatusForbidden)) // S3 refuses all
		bad(time.Hour)
		if b.health().WantsOrder {
			t.Error("the next is ordered as soon as the first was")
		}
		bad(time.Hour)
		f.writeErr = status(http.StatusForbidden)
		for range breakerThreshold {
			_ = b.do(t.Context(), request{name: "PutObject"})
		}
		if b.health().WantsOrder || b.mayOrder("d") == nil {
			t.Error("ordered though S3 takes no receipts")
		}
		f.writeErr = nil
		bad(2 * time.Minute)
		if err := b.check(t.Context()); b.mayOrder("d") != nil {
			t.Fatal(err)
		}
		time.Sleep(longestTransferWait)
		carry("d/0.mp4", nil) // S3 takes clips
		bad(time.Hour)
		if b.health().Open {
			t.Error("the same exports stop all again")
		}
		carry("a/0.mp4", nil)
		carry("b/0.mp4", nil)
		bad(time.Minute)
		if !b.health().Open || b.mayOrder("e") == nil {
			t.Error("exports that were refused once count for nothing ever after")
		}
	})
}

// Why writes fail is still said when the next probe is not due yet.
func TestTheCauseOfRefusedWritesIsKept(t *testing.T) {
	withBreaker(t, func(t *testing.T, f *fakeS3, b *breaker) {
		f.writeErr = s3Fault(t.Context(), "writing exports/_probe", status(http.StatusForbidden))
		for range breakerThreshold {
			_ = b.do(t.Context(), request{name: "PutObject"})
		}
		for range 3 * 60 {
			time.Sleep(time.Second)
			_ = b.check(t.Context())
			if s := b.health().Sentence; !strings.Contains(s, "writing exports/_probe failed") {
				t.Fatal(s)
			}
		}
	})
}

// The same with an Archive: a policy that lets a worker read only.
func TestCheckNoticesRefusedWrites(t *testing.T) {
	t.Parallel()
	srv := s3test.Start(t)
	endpoint := newS3Proxy(t, srv, func(kind string, _ int, w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) bool {
		if kind != "put" && kind != "create" {
			return false
		}
		s3Error(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	a := newArchive(t, srv, func(o *Options) { o.Client = srv.ClientAt(endpoint) })
	if err := a.Check(t.Context()); fault.ClassOf(err) != fault.Retry || !strings.Contains(fault.SentenceOf(err), "docs/s3.md") {
		t.Errorf("check: %v", err)
	}
	link := serveFile(t, clipOf(1000, 1))
	for range breakerThreshold {
		if _, err := a.Mirror(t.Context(), Job{Export: "e", Key: "k.mp4", Link: link}); err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("mirror: %v", err)
		}
	}
	if h := a.Health(); !h.Open || !strings.Contains(h.Sentence, "AccessDenied") {
		t.Errorf("%+v", h)
	}
	if _, err := a.Mirror(t.Context(), Job{Export: "e", Key: "k.mp4", Link: link}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("mirror: %v", err)
	}
	if err := newArchive(t, srv).Check(t.Context()); err != nil {
		t.Errorf("a check of a good server: %v", err)
	}
}

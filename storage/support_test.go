package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
)

// box is one MP4 box.
func box(kind string, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(payload)))
	return append(append(b, kind...), payload...)
}

// clipOf is a valid MP4 file of exactly size bytes (at least 64); the same seed
// gives the same bytes, another one others.
func clipOf(size int, seed uint64) []byte {
	b := make([]byte, 0, size)
	b = append(b, box("ftyp", []byte("isom\x00\x00\x02\x00isomiso2"))...)
	moov := box("moov", box("mvhd", nil))
	payload := size - len(b) - len(moov) - 8
	b = append(binary.BigEndian.AppendUint32(b, uint32(8+payload)), "mdat"...)
	head := make([]byte, min(64<<10, payload)) // the rest need not differ
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(head)
	b = append(b, head...)
	payload -= len(head)
	for payload > 0 {
		n := min(payload, len(noise))
		b = append(b, noise[:n]...)
		payload -= n
	}
	return append(b, moov...)
}

// noise is what files are filled with: random enough that no block is another one.
var noise = func() []byte {
	b := make([]byte, 1<<20+4099)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}()

// memory is a Checkpoints in memory.
type memory struct {
	mu    sync.Mutex
	m     map[string][]byte
	saved func(*record) // hears of every save, may be nil
}

func newMemory() *memory { return &memory{m: map[string][]byte{}} }

func (c *memory) Load(_ context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[key], nil
}

func (c *memory) Save(_ context.Context, key string, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[key] = b
	if rec, err := parseRecord(b); err == nil && c.saved != nil {
		c.saved(rec)
	}
	return nil
}

func (c *memory) Delete(_ context.Context, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, key)
	return nil
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func newFetch(t testing.TB, change ...func(*link.Options)) *link.Client {
	t.Helper()
	o := link.Options{AllowedCIDRs: loopback, StallTimeout: 2 * time.Second, MaxSize: 1 << 36}
	for _, c := range change {
		c(&o)
	}
	c, err := link.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newArchive is an Archive on a test server that retries fast.
func newArchive(t testing.TB, srv *s3test.Server, change ...func(*Options)) *Archive {
	t.Helper()
	o := Options{
		Client: srv.Client(), Bucket: s3test.Bucket, Prefix: "exports", Source: newFetch(t),
		Checkpoints: newMemory(), PartSize: minPartSize,
	}
	for _, c := range change {
		c(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	a.tested.known.Store(&allFeatures)
	a.backoff = backoff{first: time.Millisecond, max: 20 * time.Millisecond}
	return a
}

// allFeatures are those of a server that lacks nothing.
var allFeatures = features{create: true, complete: true, replace: quotedMatch, remove: true, verifiesPut: true, verifiesPart: true}

// untested is an Archive that has yet to find out what its server can do.
func untested(a *Archive) *Archive {
	a.tested.known.Store(nil)
	return a
}

// serveFile serves one file with ranges and a strong ETag.
func serveFile(t testing.TB, b []byte) string {
	t.Helper()
	s := httptest.NewServer(newOrigin(b))
	t.Cleanup(s.Close)
	return s.URL + "/clip.mp4?signature=secret"
}

// origin serves one file and counts what it sends.
type origin struct {
	mu       sync.Mutex
	body     []byte
	etag     string
	requests int
	// holdFrom, when positive, is an offset from which on nothing is sent.
	holdFrom int
}

func newOrigin(b []byte) *origin { return &origin{body: b, etag: `"v1"`} }

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	b, etag := o.body, o.etag
	o.requests++
	hold := o.holdFrom
	o.mu.Unlock()
	var from int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && hold > 0 && from >= hold {
		<-r.Context().Done()
		return
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Type", "video/mp4")
	http.ServeContent(w, r, "", time.Time{}, readSeeker(b))
}

// limited is a Source that only knows its largest size.
type limited int64

func (l limited) MaxSize() int64 { return int64(l) }

func (limited) Open(context.Context, string, link.Range) (*link.Body, error) {
	return nil, errors.New("not a real source")
}

package verification

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"pgregory.net/rapid"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

// Each export is in exactly one part, whatever the number of parts; parts are of
// about the same size.
func TestPartsCoverAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		of := rapid.IntRange(1, MaxParts).Draw(t, "of")
		in := 0
		for n := 1; n <= of; n++ {
			if (Part{n, of}).Has(key) {
				in++
			}
		}
		if in != 1 {
			t.Fatalf("%q is in %d of %d parts", key, in, of)
		}
	})
	counts := map[int]int{}
	for i := range 30_000 {
		for n := 1; n <= 30; n++ {
			if (Part{n, 30}).Has(fmt.Sprintf("exports/p/%d/manifest.json", i)) {
				counts[n]++
			}
		}
	}
	for n, c := range counts {
		if c < 800 || c > 1200 || len(counts) != 30 {
			t.Errorf("part %d has %d of 30000", n, c)
		}
	}
}

func TestParsePart(t *testing.T) {
	for s, want := range map[string]Part{"3/30": {3, 30}, "1/1": {1, 1}, "1000/1000": {1000, 1000}} {
		if p, err := ParsePart(s); err != nil || p != want || p.String() != s {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "3", "0/3", "4/3", "1/1001", "-1/3", "a/b", "1/2/3", "1/0", "1.5/3"} {
		if p, err := ParsePart(s); err == nil {
			t.Errorf("%q is %v", s, p)
		}
	}
}

// A round of any length has every part once, a part each time that one is due, and
// then begins with the oldest; what was proven is never older than a round.
func TestARoundCoversAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.IntRange(1, 40).Draw(t, "parts")
		every := time.Duration(rapid.IntRange(parts, 2000).Draw(t, "hours")) * time.Hour
		now := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
		st := State{}
		if other := rapid.IntRange(0, 50).Draw(t, "another number of parts"); other > 0 && other != parts {
			st.proofs = []Proof{{Part: 1, Parts: other, Began: now}}
		}
		seen := map[int]int{}
		for range 3 * parts {
			part, due := st.due(parts, every, now)
			if !due || part.Of != parts {
				t.Fatalf("nothing is due: %v", part)
			}
			if _, due := st.due(parts, every, now.Add(-time.Minute)); due && len(seen) > 0 {
				t.Fatal("a part is due before its time")
			}
			seen[part.Number]++
			st.proofs = append([]Proof{{Part: part.Number, Parts: parts, Began: now}}, st.proofs...)
			now = now.Add(every/time.Duration(parts) + 1)
		}
		for n := 1; n <= parts; n++ {
			if seen[n] != 3 {
				t.Fatalf("part %d was verified %d times in three rounds", n, seen[n])
			}
		}
		if age := now.Sub(st.Oldest()); age > every+time.Hour {
			t.Fatalf("the oldest proof is %s old, a round takes %s", age, every)
		}
	})
}

// Proofs in different numbers of parts tell of one archive.
func TestTheOldestProof(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 4, 1, hour, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		proofs []Proof // the latest first
		want   time.Time
	}{
		"none":                     {nil, time.Time{}},
		"a half, and no other":     {[]Proof{{Part: 1, Parts: 2, Began: at(3)}}, at(3)},
		"the first half once more": {[]Proof{{Part: 1, Parts: 2, Began: at(5)}, {Part: 2, Parts: 2, Began: at(4)}, {Part: 1, Parts: 2, Began: at(3)}}, at(4)},
		"all at once, later":       {[]Proof{{Part: 1, Parts: 1, Began: at(9)}, {Part: 1, Parts: 2, Began: at(3)}}, at(9)},
		"a third does not hide":    {[]Proof{{Part: 2, Parts: 3, Began: at(8)}, {Part: 1, Parts: 1, Began: at(2)}}, at(2)},
		"thirds over the whole":    {[]Proof{{Part: 1, Parts: 3, Began: at(8)}, {Part: 2, Parts: 3, Began: at(7)}, {Part: 3, Parts: 3, Began: at(6)}, {Part: 1, Parts: 1, Began: at(2)}}, at(6)},
	} {
		if got := (State{c.proofs}).Oldest(); !got.Equal(c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func newService(t *testing.T, srv *s3test.Server) (*Service, *storage.Archive) {
	t.Helper()
	links, err := link.New(link.Options{MaxSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(links.Close)
	a, err := storage.New(storage.Options{Client: srv.Client(), Bucket: s3test.Bucket, Prefix: "exports", Source: links})
	if err != nil {
		t.Fatal(err)
	}
	return New(a), a
}

func put(t *testing.T, srv *s3test.Server, key, body string) {
	t.Helper()
	_, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key, Body: bytes.NewReader([]byte(body))})
	if err != nil {
		t.Fatal(err)
	}
}

func sum(s string) string {
	b := sha256.Sum256([]byte(s))
	return hex.EncodeToString(b[:])
}

func TestVerifyAndRemember(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *s3test.Server{
		"versitygw": s3test.Start, "rclone": s3test.StartWeak, "embeds3": s3test.StartEmbedded,
	} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			s, a := newService(t, srv)
			now := time.Now()
			s.now = func() time.Time { return now }
			var keys []string
			for n := range 12 {
				task := fmt.Sprintf("t-%d", n)
				key := a.Folder("p", task) + "clip-000.mp4"
				put(t, srv, key, "clip")
				m, err := a.PutManifest(t.Context(), storage.Manifest{
					ID: task, ProjectID: "p", ExportTaskID: task, ArchivedAt: now.Add(-time.Hour),
					Request: json.RawMessage(`{}`), Answer: json.RawMessage(`{}`),
					Clips: []storage.ManifestClip{{ManifestFile: storage.ManifestFile{Object: export.Object{Key: key, Size: 4, SHA256: sum("clip")}}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, m)
			}
			if st := state(t, s); !st.Oldest().IsZero() || st.Bad() != nil {
				t.Errorf("of nothing: %+v", st)
			}
			rolling := NewRolling(s, 72*time.Hour, slog.New(slog.DiscardHandler))
			round := func() {
				t.Helper()
				for range 3 {
					for range 2 { // the second time nothing is due
						if err := rolling.Next(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					now = now.Add(24 * time.Hour)
				}
			}
			round()
			exports := 0
			st := state(t, s)
			for _, p := range st.proofs {
				exports += p.Exports
			}
			if exports != 12 || len(st.proofs) != 3 || now.Sub(st.Oldest()) != 72*time.Hour {
				t.Errorf("%d exports in a round: %+v", exports, st)
			}
			for _, key := range keys {
				if at, bad := st.Of(key, now.Add(-80*time.Hour)); at.IsZero() || bad != nil {
					t.Errorf("%s: %s %v", key, at, bad)
				}
				if at, _ := st.Of(key, now); !at.IsZero() {
					t.Errorf("%s was verified before it was archived", key)
				}
			}
			// A clip that has changed, a manifest that is none: they are named, until they are good again.
			put(t, srv, strings.Replace(keys[5], "manifest.json", "clip-000.mp4", 1), "clap")
			put(t, srv, keys[7], "{")
			round()
			st = state(t, s)
			if bad := st.Bad(); len(bad) != 2 || !strings.Contains(fmt.Sprint(bad), "its bytes have changed") || !strings.Contains(fmt.Sprint(bad), keys[7]) {
				t.Errorf("%+v", bad)
			}
			if _, bad := st.Of(keys[5], now.Add(-1000*time.Hour)); len(bad) != 1 {
				t.Errorf("%+v", bad)
			}
			put(t, srv, strings.Replace(keys[5], "manifest.json", "clip-000.mp4", 1), "clip")
			if p, err := s.Verify(t.Context(), Part{1, 1}, nil); err != nil || p.Exports != 12 || len(p.Bad) != 1 {
				t.Errorf("%+v, %v", p, err)
			}
			if bad := state(t, s).Bad(); len(bad) != 1 || bad[0].Key != keys[7] {
				t.Errorf("%+v", bad)
			}
		})
	}
}

func state(t *testing.T, s *Service) State {
	t.Helper()
	st, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

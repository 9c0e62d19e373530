package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("internal/poll.runtime_pollWait")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// bucket is a catalog on a test server.
type bucket struct {
	*Store
	srv *s3test.Server
}

func newBucket(t testing.TB, srv *s3test.Server) *bucket {
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
	return &bucket{NewStore(a), srv}
}

func servers(t *testing.T, test func(t *testing.T, b *bucket)) {
	t.Run("versitygw", func(t *testing.T) { test(t, newBucket(t, s3test.Start(t))) })
	t.Run("rclone", func(t *testing.T) { test(t, newBucket(t, s3test.StartWeak(t))) })
	t.Run("embeds3", func(t *testing.T) { test(t, newBucket(t, s3test.StartEmbedded(t))) })
}

// manifestOf is that of an export with two clips.
func manifestOf(n int) storage.Manifest {
	m := storage.Manifest{
		Schema: storage.ManifestVersion, ID: fmt.Sprintf("e-%d", n), ProjectID: "p", ExportTaskID: fmt.Sprintf("t-%d", n),
		Request: json.RawMessage(`{"project_id":"p","resolution":"HD_720"}`), Answer: json.RawMessage(`{"name":"an export"}`),
		CreatedAt: archived, ArchivedAt: archived.Add(time.Duration(n) * time.Second),
		Labels: map[string]string{"show": "42"},
	}
	for idx := range 2 {
		m.Clips = append(m.Clips, storage.ManifestClip{Idx: idx, Title: fmt.Sprintf("Clip %d of %d", idx, n), Tags: []string{"t"}, EndMS: 1000})
		m.Clips[idx].Object = export.Object{Key: fmt.Sprintf("exports/p/t-%d/clip-%03d.mp4", n, idx), Size: 5, SHA256: strings.Repeat("ab", 32)}
	}
	return m
}

func (b *bucket) put(t testing.TB, key string, body []byte) {
	t.Helper()
	_, err := b.srv.Client().PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
}

// seal writes manifests alone, past the check that their clips are there.
func (b *bucket) seal(t testing.TB, from, to int) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for n := from; n < to; n++ {
		g.Go(func() error {
			b.putManifest(t, manifestOf(n))
			return nil
		})
	}
	_ = g.Wait()
}

func (b *bucket) putManifest(t testing.TB, m storage.Manifest) {
	t.Helper()
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, "exports/p/"+m.ExportTaskID+"/manifest.json", body)
}

func (b *bucket) removeManifest(t testing.TB, n int) {
	t.Helper()
	key := fmt.Sprintf("exports/p/t-%d/manifest.json", n)
	if _, err := b.srv.Client().DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key}); err != nil {
		t.Fatal(err)
	}
}

// add seals an export and adds it.
func (b *bucket) add(t testing.TB, n int) {
	t.Helper()
	b.putManifest(t, manifestOf(n))
	if err := b.Add(context.Background(), fmt.Sprintf("exports/p/t-%d/manifest.json", n)); err != nil {
		t.Fatal(err)
	}
}

func (b *bucket) files(t testing.TB) []file {
	t.Helper()
	files, err := b.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (b *bucket) sync(t testing.TB, f *follower, want int) {
	t.Helper()
	if err := f.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.index.Len(); got != want {
		t.Fatalf("%d clips instead of %d", got, want)
	}
}

func (b *bucket) follower() *follower {
	return &follower{store: b.Store, index: NewIndex(), files: map[string]*followed{}}
}

// Whatever is added, merged, left behind by a crash or removed: a follower has each
// clip once.
func TestFollow(t *testing.T) {
	servers(t, func(t *testing.T, b *bucket) {
		ctx := t.Context()
		f := b.follower()
		b.sync(t, f, 0)
		if s := f.index.Status(); !s.Loaded || s.Err != nil {
			t.Errorf("%+v", s)
		}
		add := func(from, to int) {
			for n := from; n < to; n++ {
				b.add(t, n)
			}
		}
		add(0, 12)
		add(0, 2) // again
		b.sync(t, f, 24)
		if l, ok := f.index.Clip("e-7", 1); !ok || l.Tenant != "default" || l.ExportName != "an export" || l.DurationMS != 1000 || l.Labels["show"] != "42" || l.Manifest != "exports/p/t-7/manifest.json" || l.Resolution != "HD_720" {
			t.Errorf("%+v", l)
		}
		before := b.files(t)
		if n, err := b.Merge(ctx); err != nil || n != 12 {
			t.Fatal(n, err)
		}
		merged := b.files(t)
		if len(merged) != 1 || merged[0].level != 1 {
			t.Fatalf("%+v", merged)
		}
		for range 3 { // what was merged is let go of, its clips are not
			b.sync(t, f, 24)
		}
		if len(f.files) != 1 {
			t.Errorf("follows %d files", len(f.files))
		}
		// A crash between merging and removing: all is there twice, until the next merge.
		add(0, 12)
		if len(b.files(t)) != len(before)+1 {
			t.Fatal("nothing is there twice")
		}
		b.sync(t, f, 24)
		b.sync(t, b.follower(), 24)
		if n, err := b.Merge(ctx); err != nil || n != 12 {
			t.Fatal(n, err)
		}
		if again := b.files(t); len(again) != 1 || again[0].Key != merged[0].Key {
			t.Errorf("merged once more: %+v", again)
		}
		b.sync(t, f, 24)
		// What is in no file any more goes, when two listings lacked it.
		add(50, 51)
		b.sync(t, f, 26)
		if err := b.remove(ctx, merged); err != nil {
			t.Fatal(err)
		}
		b.sync(t, f, 26)
		b.sync(t, f, 2)
		if p := search(t, f.index, Query{Limit: 9}); p.Total != 2 || p.Clips[0].ExportID != "e-50" {
			t.Errorf("%+v", p)
		}
	})
}

// Searches go on while an index follows; and it stops.
func TestFollowUntilTheEnd(t *testing.T) {
	b := newBucket(t, s3test.StartEmbedded(t))
	ctx, stop := context.WithCancel(t.Context())
	x := NewIndex()
	var group sync.WaitGroup
	group.Go(func() { b.Follow(ctx, x, time.Millisecond, quiet()) })
	for n := range 40 {
		b.add(t, n)
		if n%15 == 14 {
			if _, err := b.Merge(ctx); err != nil {
				t.Fatal(err)
			}
		}
		search(t, x, Query{Text: "clip", Limit: 5})
	}
	for deadline := time.Now().Add(time.Minute); x.Len() != 80 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if x.Len() != 80 {
		t.Errorf("%d clips", x.Len())
	}
	stop()
	group.Wait()
}

// Each line is written again once a level: merging costs the logarithm of what there is.
func TestMergingCostsItsLogarithm(t *testing.T) {
	b := newBucket(t, s3test.StartEmbedded(t))
	const exports = 500
	rewritten, most := 0, 0
	for n := range exports {
		b.add(t, n)
		inputs := map[string]bool{}
		if n%5 == 4 {
			for _, f := range b.files(t) {
				inputs[f.Key] = true
			}
			if _, err := b.Merge(t.Context()); err != nil {
				t.Fatal(err)
			}
			after := b.files(t)
			most = max(most, len(after))
			for _, f := range after {
				if !inputs[f.Key] {
					body, _, _ := b.kept.Read(t.Context(), f.Key, maxFile)
					for range parsed(body) {
						rewritten++
					}
				}
			}
		}
	}
	b.sync(t, b.follower(), 2*exports)
	if perLine := float64(rewritten) / (2 * exports); perLine > 3 || perLine < 1 || most > 30 {
		t.Errorf("each line was written %.1f times again, and there were up to %d files", perLine, most)
	}
}

func TestUpdateAndRebuild(t *testing.T) {
	servers(t, func(t *testing.T, b *bucket) {
		ctx := t.Context()
		b.seal(t, 0, 30)
		b.put(t, "exports/_receipts/manifest.json", []byte("{}")) // is none
		b.add(t, 3)
		for range 2 {
			done, err := b.Update(ctx)
			if err != nil || done.Known+done.Manifests != 30 {
				t.Fatalf("%+v, %v", done, err)
			}
			b.sync(t, b.follower(), 60)
		}
		// A manifest that was removed, and a file that somebody broke.
		b.removeManifest(t, 9)
		b.put(t, "exports/_catalog/0/"+strings.Repeat("0", 32)+".jsonl.gz", []byte("broken"))
		if _, err := b.Update(ctx); err == nil {
			t.Error("a broken file is no fault")
		}
		done, err := b.Rebuild(ctx)
		if err != nil || done.Manifests != 29 || done.Clips != 58 {
			t.Fatalf("%+v, %v", done, err)
		}
		b.sync(t, b.follower(), 58)
		// What was added while the manifests were listed is not lost.
		young := manifestOf(99)
		young.ArchivedAt = time.Now()
		b.putManifest(t, young)
		if err := b.Add(ctx, "exports/p/t-99/manifest.json"); err != nil {
			t.Fatal(err)
		}
		b.removeManifest(t, 99)
		if _, err := b.Rebuild(ctx); err != nil {
			t.Fatal(err)
		}
		b.sync(t, b.follower(), 60)
		// Nothing is removed for manifests that cannot be read.
		b.put(t, "exports/p/t-4/manifest.json", []byte("broken"))
		if done, err := b.Rebuild(ctx); err == nil || done.Manifests != 28 {
			t.Errorf("%+v, %v", done, err)
		}
		b.sync(t, b.follower(), 60)
	})
}

// BenchmarkRebuild rebuilds a catalog; at least 200 manifests a second are wanted.
func BenchmarkRebuild(b *testing.B) {
	bucket := newBucket(b, s3test.Start(b))
	const exports = 1500
	bucket.seal(b, 0, exports)
	for b.Loop() {
		if done, err := bucket.Rebuild(b.Context()); err != nil || done.Manifests != exports {
			b.Fatalf("%+v, %v", done, err)
		}
	}
	b.ReportMetric(float64(exports*b.N)/b.Elapsed().Seconds(), "manifests/s")
	if files := bucket.files(b); len(files) != 2 || !slices.ContainsFunc(files, func(f file) bool { return f.level == 3 }) {
		b.Errorf("%+v", files)
	}
}

package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/s3test"
)

var update = flag.Bool("update", false, "write the golden files")

var someTime = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func someManifest(clip, thumb ManifestFile) Manifest {
	return Manifest{
		ID: "exp_1", ProjectID: "proj_abc123", ExportTaskID: "export_task_xyz789",
		Request: json.RawMessage(`{"project_id":"proj_abc123","clip_indices":[0]}`),
		Answer:  json.RawMessage(`{"data":{"status":"SUCCEEDED","unknown":"kept"}}`), CostUsage: 48,
		CreatedAt: someTime, ArchivedAt: someTime.Add(time.Hour),
		Clips: []ManifestClip{
			{Idx: 0, ManifestFile: clip, Title: "sample <title>", Desc: "d", Tags: []string{"insight"}, Score: 81, BeginMS: 15000, EndMS: 75000, Thumbnail: &thumb},
			{Idx: 1, ManifestFile: clip, Title: "2", Tags: []string{}, Warning: "the thumbnail could not be read: 404"},
		},
	}
}

func TestManifestGolden(t *testing.T) {
	file := ManifestFile{Object: export.Object{
		Key: "exports/proj_abc123/export_task_xyz789/clip-000-sample-title.mp4", Size: 12, SHA256: strings.Repeat("ab", 32), CRC32: "yZRlqg==",
		ContentType: "video/mp4", Proofs: []string{ProofLength, ProofContainer},
	}, ArchivedAt: someTime}
	thumb := file
	thumb.Key, thumb.ContentType, thumb.CRC32 = "exports/proj_abc123/export_task_xyz789/clip-000-sample-title.jpg", "image/jpeg", ""
	m := someManifest(file, thumb)
	m.Name, m.Account, m.Tenant = "sample export task", "second", "news"
	m.Request = json.RawMessage(`{"project_id":"proj_abc123","clip_indices":[0],"resolution":"HD_720","enable_caption":true}`)
	got, err := encodeDocument(m.Completed())
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/manifest.golden.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the manifest has changed (run with -update if that is meant):\n%s", got)
	}
}

// What people look for stands at the top also where an earlier release wrote the manifest.
func TestAManifestOfAnEarlierRelease(t *testing.T) {
	m := someManifest(ManifestFile{}, ManifestFile{})
	m.Answer = json.RawMessage(`{"name":"sample export task","status":"SUCCEEDED"}`)
	m.Request = json.RawMessage(`{"project_id":"p","ratio":"RATIO_1_1"}`)
	m.Clips[1].BeginMS = 9 // with an end at 0: nonsense has no length
	got := m.Completed()
	if got.Name != "sample export task" || string(got.Settings) != `{"ratio":"RATIO_1_1"}` || got.DurationMS != 60_000 || got.Clips[0].DurationMS != 60_000 {
		t.Errorf("%+v", got)
	}
	m.Request, m.Answer = json.RawMessage(`"?"`), json.RawMessage(`[]`)
	if got := m.Completed(); got.Name != "" || got.Settings != nil {
		t.Errorf("%+v", got)
	}
}

func TestManifestAndVerify(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		folder := a.Folder("proj_abc123", "export_task_xyz789")
		clip, err := a.Mirror(t.Context(), Job{Export: "e", Key: folder + "clip-000.mp4", Link: serveFile(t, clipOf(minPartSize+9, 1))})
		if err != nil {
			t.Fatal(err)
		}
		thumb, err := a.Mirror(t.Context(), Job{Export: "e", Key: folder + "clip-000", Kind: Image, Link: serveFile(t, jpeg)})
		if err != nil {
			t.Fatal(err)
		}
		m := someManifest(ManifestFile{clip.Object, someTime}, ManifestFile{thumb.Object, someTime})
		for range 2 { // the second time changes nothing
			key, err := a.PutManifest(t.Context(), m)
			if err != nil || key != "exports/proj_abc123/export_task_xyz789/manifest.json" {
				t.Fatal(key, err)
			}
		}
		other := m
		other.Clips, other.ArchivedAt = m.Clips[:1], someTime.Add(2*time.Hour)
		if key, err := a.PutManifest(t.Context(), other); !errors.Is(err, ErrSealed) || key == "" {
			t.Errorf("a manifest with other content: %v", err)
		}
		key := a.ManifestKey("proj_abc123", "export_task_xyz789")
		got, ok, err := a.ReadManifest(t.Context(), key)
		if err != nil || !ok || got.Clips[0].SHA256 != clip.SHA256 || got.Clips[0].Thumbnail.Key != folder+"clip-000.jpg" {
			t.Fatalf("%+v, %v, %v", got, ok, err)
		}
		text, err := srv.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(s3test.Bucket), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		defer text.Body.Close()
		if b, err := io.ReadAll(text.Body); err != nil || text.Metadata[metaSHA256] != sum(b) || aws.ToString(text.ContentDisposition) != `inline; filename="manifest.json"` {
			t.Errorf("the manifest's own: %v %v, %v", text.Metadata, aws.ToString(text.ContentDisposition), err)
		}
		if _, ok, err := a.ReadManifest(t.Context(), folder+"none.json"); ok || err != nil {
			t.Errorf("a manifest out of nothing: %v, %v", ok, err)
		}
		r, err := a.Verify(t.Context(), key)
		if err != nil || !r.OK() || len(r.Files) != 3 {
			t.Fatalf("%+v, %v", r, err)
		}
		// changed, cut and missing objects are all found out
		for name, body := range map[string][]byte{"changed": clipOf(minPartSize+9, 2), "cut": clipOf(100, 1)} {
			if _, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &clip.Key, Body: bytes.NewReader(body)}); err != nil {
				t.Fatal(err)
			}
			if r, err := a.Verify(t.Context(), key); err != nil || r.OK() || r.Files[0].Problem == "" || r.Files[1].Problem != "" {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
		if _, err := srv.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(s3test.Bucket), Key: &thumb.Key}); err != nil {
			t.Fatal(err)
		}
		if r, err := a.Verify(t.Context(), key); err != nil || r.Files[1].Problem != "it is missing" {
			t.Errorf("missing: %+v, %v", r, err)
		}
		if _, err := a.PutManifest(t.Context(), m); fault.ClassOf(err) != fault.Retry || err == nil {
			t.Errorf("a manifest of missing objects: %v", err)
		}
	})
}

func TestReceipts(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		ids := []string{"exp_1", "a:b.c-1", "x.y", "..", "UPPER", "upper", strings.Repeat("i", 128)}
		for i := range 20 {
			ids = append(ids, fmt.Sprint("many-", i))
		}
		for _, id := range ids {
			if _, ok, err := a.Receipt(t.Context(), id); ok || err != nil {
				t.Fatal(id, ok, err)
			}
			r := Receipt{State: ReceiptOpen, ID: id, ExportTaskID: "task-" + id, ProjectID: "p", Request: json.RawMessage(`{"project_id":"p"}`), Submitted: someTime}
			if err := a.SyncReceipt(t.Context(), r); err != nil {
				t.Fatal(id, err)
			}
		}
		for _, state := range []ReceiptState{ReceiptDone, ReceiptOpen} { // a late writer does not open it again
			r := Receipt{ID: "a:b.c-1", ExportTaskID: "task-a:b.c-1", State: state, Manifest: "m.json"}
			if err := a.SyncReceipt(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if r, ok, err := a.Receipt(t.Context(), "a:b.c-1"); !ok || err != nil || r.State != ReceiptDone || r.Manifest != "m.json" || r.Closed == nil {
			t.Errorf("%+v, %v, %v", r, ok, err)
		}
		// a second submit of the id keeps the first one's task
		if err := a.SyncReceipt(t.Context(), Receipt{ID: "exp_1", ExportTaskID: "task-2", State: ReceiptOpen}); err != nil {
			t.Fatal(err)
		}
		if r, _, err := a.Receipt(t.Context(), "exp_1"); err != nil || r.State != ReceiptOpen || !slices.Equal(r.Earlier, []string{"task-exp_1"}) {
			t.Errorf("%+v, %v", r, err)
		}
		rubbish := a.receiptKey("rubbish")
		if _, err := srv.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(s3test.Bucket), Key: &rubbish, Body: strings.NewReader("{")}); err != nil {
			t.Fatal(err)
		}
		var got []string
		var bad int
		for r, err := range a.Receipts(t.Context(), time.Time{}) {
			if err != nil {
				bad++
				continue
			}
			got = append(got, r.ID)
		}
		slices.Sort(got)
		slices.Sort(ids)
		if !slices.Equal(got, ids) || bad != 1 {
			t.Errorf("%d bad, got %q", bad, got)
		}
		for range a.Receipts(t.Context(), time.Time{}) {
			break // may be left at any time
		}
		for r := range a.Receipts(t.Context(), time.Now().Add(time.Hour)) {
			t.Errorf("%s was not written since", r.ID)
		}
	})
}

var jpeg = append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00"), bytes.Repeat([]byte{7}, 5000)...)

func TestThumbnails(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv)
	unknownLength := func(b []byte) string {
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, b, -1) }))
		t.Cleanup(hs.Close)
		return hs.URL
	}
	for name, c := range map[string]struct {
		link   string
		ending string // "" for a refusal
	}{
		"jpeg":           {serveFile(t, jpeg), ".jpg"},
		"png":            {serveFile(t, []byte("\x89PNG\r\n\x1a\n0000000000")), ".png"},
		"webp":           {serveFile(t, []byte("RIFF\x10\x00\x00\x00WEBPVP8 ")), ".webp"},
		"without length": {unknownLength(jpeg), ".jpg"},
		"page":           {serveFile(t, []byte("<html>gone</html>")), ""},
		"riff":           {serveFile(t, []byte("RIFF\x10\x00\x00\x00WAVEfmt ")), ""},
		"empty":          {unknownLength(nil), ""},
		"huge":           {serveFile(t, append(bytes.Clone(jpeg), make([]byte, 9<<20)...)), ""},
		"huge, unknown":  {unknownLength(append(bytes.Clone(jpeg), make([]byte, 9<<20)...)), ""},
	} {
		job := Job{Export: "e", Key: "thumbs/" + name, Kind: Image, Link: c.link, Filename: "Part 1. Why"}
		obj, err := a.Mirror(t.Context(), job)
		if c.ending == "" {
			if fault.ClassOf(err) != fault.Retry || err == nil {
				t.Errorf("%s: %+v, %v", name, obj, err)
			}
			continue
		}
		if err != nil || obj.Key != job.Key+c.ending {
			t.Errorf("%s: %+v, %v", name, obj, err)
		}
		out, err := srv.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(s3test.Bucket), Key: &obj.Key})
		if err != nil || aws.ToString(out.ContentDisposition) != `attachment; filename="Part 1. Why`+c.ending+`"` {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if again, err := a.Mirror(t.Context(), job); err != nil || !again.Found || again.SHA256 != obj.SHA256 {
			t.Errorf("%s again: %+v, %v", name, again, err)
		}
	}
}

// What an object carries, however it was uploaded.
func TestAttributes(t *testing.T) {
	srv := s3test.Start(t)
	a := newArchive(t, srv, func(o *Options) { o.Object.Tags = map[string]string{"team": "media / more"} })
	for name, size := range map[string]int{"small": 1000, "large": minPartSize + 1} {
		clip := clipOf(size, 1)
		obj, err := a.Mirror(t.Context(), Job{
			Export: "e1", Key: name + ".mp4", Link: serveFile(t, clip), Filename: "Café.mp4",
			Metadata: map[string]string{"title": "Café", "idx": "0"},
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := srv.Client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(s3test.Bucket), Key: &obj.Key})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(out.ContentType) != "video/mp4" || aws.ToString(out.CacheControl) != DefaultCacheControl ||
			aws.ToString(out.ContentDisposition) != `attachment; filename="Caf_.mp4"; filename*=UTF-8''Caf%C3%A9.mp4` {
			t.Errorf("%s: %s, %s, %s", name, aws.ToString(out.ContentType), aws.ToString(out.CacheControl), aws.ToString(out.ContentDisposition))
		}
		if out.Metadata[metaExport] != "e1" || out.Metadata["idx"] != "0" || out.Metadata["title"] != "=?utf-8?b?Q2Fmw6k=?=" {
			t.Errorf("%s: %v", name, out.Metadata)
		}
		tags, err := srv.Client().GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String(s3test.Bucket), Key: &obj.Key})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, tag := range tags.TagSet {
			found[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
		if found["team"] != "media / more" {
			t.Errorf("%s: tags %v", name, found)
		}
		st, ok, err := a.Stat(t.Context(), obj.Key)
		if err != nil || !ok || st.SHA256 != sum(clip) || st.CRC32 != obj.CRC32 || st.Size != int64(size) {
			t.Errorf("%s: %+v, %v, %v", name, st, ok, err)
		}
	}
	if _, ok, err := a.Stat(t.Context(), "none"); ok || err != nil {
		t.Errorf("none: %v, %v", ok, err)
	}
}

// Servers without the checksum headers are served with Content-MD5.
func TestChecksumMD5(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		var sent http.Header
		proxied := newS3Proxy(t, srv, func(kind string, _ int, _ http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) bool {
			if kind == "part" || kind == "put" {
				sent = r.Header.Clone()
			}
			return false
		})
		a := newArchive(t, srv, func(o *Options) { o.Checksum, o.Client, o.PartsPerFile = ChecksumMD5, srv.ClientAt(proxied), 1 })
		for _, size := range []int{1000, minPartSize + 5} {
			clip := clipOf(size, 1)
			obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: fmt.Sprint(size, ".mp4"), Link: serveFile(t, clip)})
			if err != nil || obj.SHA256 != sum(clip) {
				t.Fatalf("%+v, %v", obj, err)
			}
			if sent.Get("Content-MD5") == "" || sent.Get("X-Amz-Checksum-Crc32") != "" || sent.Get("X-Amz-Trailer") != "" {
				t.Errorf("sent %v", sent)
			}
		}
	})
}

// A link is a download, as the object is, and plays in a browser where that is asked for.
func TestPresign(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		a := newArchive(t, srv)
		obj, err := a.Mirror(t.Context(), Job{Export: "e", Key: "clip.mp4", Link: serveFile(t, clipOf(1000, 1))})
		if err != nil {
			t.Fatal(err)
		}
		named, err := a.Presign(t.Context(), obj.Key, "Über.mp4", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := a.PresignInline(t.Context(), obj.Key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for link, want := range map[string]string{named: "%C3%9Cber.mp4", shown: "inline"} {
			resp, err := http.Get(link)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := resp.Header.Get("Content-Disposition"); err != nil || sum(b) != obj.SHA256 || !strings.Contains(got, want) || strings.Contains(got, "inline") != (want == "inline") {
				t.Errorf("%s: %s: %d bytes, %v, %v", want, resp.Status, len(b), resp.Header, err)
			}
		}
	})
}

func TestAbortOrphans(t *testing.T) {
	servers(t, func(t *testing.T, srv *s3test.Server) {
		now := time.Now()
		store := newMemory()
		a := newArchive(t, srv, func(o *Options) { o.Checkpoints, o.Now = store, func() time.Time { return now } })
		begin := func(key string) string {
			id, err := a.createUpload(t.Context(), key, attributes{contentType: "video/mp4"})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		begin("exports/p/t/orphan.mp4")
		begin("elsewhere/not-ours.mp4")
		active := begin("exports/p/t/active.mp4")
		if n, err := a.AbortOrphans(t.Context(), time.Hour); n != 0 || err != nil {
			t.Fatalf("young uploads: %d, %v", n, err)
		}
		now = now.Add(25 * time.Hour)
		rec := record{Version: recordVersion, Upload: active, Size: minPartSize, Part: minPartSize, Validator: `"v"`, Saved: now.Add(-time.Minute)}
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		_ = store.Save(t.Context(), "exports/p/t/active.mp4", b)
		if n, err := a.AbortOrphans(t.Context(), 24*time.Hour); n != 1 || err != nil {
			t.Errorf("aborted %d, %v", n, err)
		}
		if _, err := a.listParts(t.Context(), "exports/p/t/active.mp4", active); err != nil {
			t.Errorf("the active one: %v", err)
		}
		now = now.Add(25 * time.Hour)
		if n, err := a.AbortOrphans(t.Context(), 24*time.Hour); n != 1 || err != nil {
			t.Errorf("aborted %d, %v", n, err)
		}
	})
}

func TestCheckTellsAMissingBucket(t *testing.T) {
	srv := s3test.Start(t)
	if err := newArchive(t, srv).Check(t.Context()); err != nil {
		t.Error(err)
	}
	err := newArchive(t, srv, func(o *Options) { o.Bucket = "none" }).Check(t.Context())
	if !strings.Contains(fault.SentenceOf(err), "CLIPFERRY_S3_BUCKET") {
		t.Errorf("got %v", err)
	}
	wrongKey := newArchive(t, srv, func(o *Options) {
		o.Client = s3.New(o.Client.Options(), func(so *s3.Options) { so.Credentials = aws.AnonymousCredentials{} })
	})
	if err := wrongKey.Check(t.Context()); err == nil {
		t.Error("anybody may")
	}
}

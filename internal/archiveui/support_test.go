package archiveui

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

const (
	signingSecret = "correct-horse-battery-staple-0123"
	password      = "a-good-password"
)

// site is the pages over a real S3 server and a catalog.
type site struct {
	*httptest.Server
	t       testing.TB
	ui      *UI
	index   *catalog.Index
	s3      *s3test.Server
	archive *storage.Archive
	log     *lockedBuffer

	mu     sync.Mutex
	now    time.Time
	status catalog.Status
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t testing.TB, change ...func(*Options)) *site {
	t.Helper()
	s := &site{t: t, index: catalog.NewIndex(), s3: s3test.StartEmbedded(t), log: &lockedBuffer{}, now: time.Now(), status: catalog.Status{Loaded: true}}
	links, err := link.New(link.Options{MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(links.Close)
	s.archive, err = storage.New(storage.Options{Client: s.s3.Client(), Bucket: s3test.Bucket, Prefix: "exports", Source: links})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Clips: s, Files: s.archive, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Secrets: []string{signingSecret},
		Users: []Credential{{"mia", password}}, Now: s.clock,
	}
	for _, c := range change {
		c(&o)
	}
	if s.ui, err = New(o); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(s.ui)
	t.Cleanup(s.Close)
	return s
}

// Search and the others are those of the index, at a status that a test sets.
func (s *site) Search(ctx context.Context, q catalog.Query) (catalog.Page, error) {
	return s.index.Search(ctx, q)
}
func (s *site) Export(id string) []catalog.Line { return s.index.Export(id) }
func (s *site) Project(tenant *string, id string) []catalog.Summary {
	return s.index.Project(tenant, id)
}
func (s *site) Facets(tenant *string) catalog.Facets { return s.index.Facets(tenant) }

func (s *site) Status() catalog.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *site) is(status catalog.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// clipOf is what a test says of a clip.
type clipOf struct {
	Title, Desc string
	Tags        []string
	Score       float64
	Seconds     int64
	Video       []byte
	NoPoster    bool
}

// add archives an export: objects, manifest and catalog.
func (s *site) add(id, project string, clips []clipOf, change ...func(*storage.Manifest)) storage.Manifest {
	s.t.Helper()
	m := storage.Manifest{
		Schema: storage.ManifestVersion, ID: id, ProjectID: project, ExportTaskID: "task-" + id,
		Request: json.RawMessage(`{"project_id":"p","resolution":"FHD_1080","enable_caption":true,"caption_display":"both"}`),
		Answer:  json.RawMessage(`{}`), CostUsage: 12.5 * float64(len(clips)), CreatedAt: s.clock().Add(-time.Hour), ArchivedAt: s.clock(),
	}
	folder := s.archive.Folder(project, m.ExportTaskID)
	for i, c := range clips {
		if c.Video == nil {
			c.Video = []byte(fmt.Sprintf("clip %d of %s", i, id))
		}
		mc := storage.ManifestClip{
			Idx: i, Title: c.Title, Desc: c.Desc, Tags: append([]string{}, c.Tags...), Score: c.Score,
			BeginMS: 15_000, EndMS: 15_000 + c.Seconds*1000, DurationMS: c.Seconds * 1000,
			ManifestFile: storage.ManifestFile{Object: s.put(folder+storage.ClipName(i, c.Title)+".mp4", "video/mp4", c.Video), ArchivedAt: s.clock()},
		}
		if !c.NoPoster {
			thumb := s.put(folder+storage.ClipName(i, c.Title)+".jpg", "image/jpeg", poster(i))
			mc.Thumbnail = &storage.ManifestFile{Object: thumb, ArchivedAt: s.clock()}
		}
		m.Clips = append(m.Clips, mc)
	}
	for _, c := range change {
		c(&m)
	}
	key, err := s.archive.PutManifest(s.t.Context(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	m, _, err = s.archive.ReadManifest(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.index.Add(catalog.LinesOf(m, key)...)
	return m
}

func (s *site) put(key, contentType string, body []byte) export.Object {
	s.t.Helper()
	_, err := s.s3.Client().PutObject(s.t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(s3test.Bucket), Key: &key, Body: bytes.NewReader(body), ContentType: &contentType,
		ContentDisposition: aws.String("attachment; filename=\"" + filepath.Base("clip.mp4") + "\""),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	return export.Object{
		Key: key, Size: int64(len(body)), SHA256: hex.EncodeToString(sum[:]), ContentType: contentType,
		CRC32:  base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body))),
		Proofs: []string{storage.ProofLength, storage.ProofContainer, storage.ProofS3Object, storage.ProofHead},
	}
}

var posters sync.Map

// poster is a picture that is another one for each number: hills under a sky.
func poster(n int) []byte {
	if drawn, ok := posters.Load(n); ok {
		return drawn.([]byte)
	}
	drawn := draw(n)
	posters.Store(n, drawn)
	return drawn
}

func draw(n int) []byte {
	palettes := [][3]color.RGBA{
		{{250, 214, 165, 255}, {216, 120, 96, 255}, {84, 58, 92, 255}},
		{{190, 220, 232, 255}, {110, 160, 170, 255}, {38, 70, 83, 255}},
		{{233, 216, 166, 255}, {148, 170, 120, 255}, {52, 78, 65, 255}},
		{{205, 198, 230, 255}, {130, 115, 170, 255}, {45, 40, 80, 255}},
		{{248, 205, 218, 255}, {190, 110, 140, 255}, {70, 45, 75, 255}},
	}
	p := palettes[n%len(palettes)]
	mix := func(a, b color.RGBA, t float64) color.RGBA {
		at := func(a, b uint8) uint8 { return uint8(float64(a) + (float64(b)-float64(a))*t) }
		return color.RGBA{at(a.R, b.R), at(a.G, b.G), at(a.B, b.B), 255}
	}
	img := image.NewRGBA(image.Rect(0, 0, 480, 270))
	sunX, sunY := float64(80+n*97%320), float64(70+n*31%60)
	for x := range 480 {
		for y := range 270 {
			fx, fy := float64(x), float64(y)
			c := mix(p[1], p[0], min(1, fy/190))
			if math.Hypot(fx-sunX, fy-sunY) < 26 {
				c = color.RGBA{255, 246, 224, 255}
			}
			for hill := range 3 {
				h := float64(hill)
				top := 150 + 36*h + 22*math.Sin(fx/(70-14*h)+float64(n)*1.7+h*2) + 9*math.Sin(fx/23+float64(n)+h)
				if fy > top {
					c = mix(p[1], p[2], 0.35+0.32*h)
				}
			}
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	_ = jpeg.Encode(&b, img, nil) // into memory
	return b.Bytes()
}

// get asks for a page as mia; header pairs may follow.
func (s *site) get(path string, header ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+path, nil)
	if strings.HasPrefix(path, "http") {
		req, err = http.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth("mia", password)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(body)
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// nobody leaves the login out.
var nobody = []string{"Authorization", ""}

// hostile are texts that a page, a header and a file name must survive.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title><svg onload=alert(1)>`, "{{.Secret}}", `javascript:alert(1)`,
	"../../../../etc/passwd", "", "   ", ".", "line\r\nX-Injected: yes\r\n\r\nbody", "nul\x00 bell\x07 escape\x1b[2J",
	"photo\u202egpj.mp4", "zero\u200bwidth\u2066isolates\u2069", strings.Repeat("long ", 2000), strings.Repeat("x", 900),
	strings.Repeat("\u0301", 500), `quote" ; filename="evil.exe`, "%2e%2e%2f%00", "日本語のタイトル 🎬👩‍👩‍👧‍👦", "ﷺ الترجمة العربية", "a/b/c.mp4", "$(touch /tmp/x) `id` | ; &",
	"\xff\xfe broken", "&lt;b&gt; &amp;", "Ünïcödé – “quotes”",
}

func hostileClips() []clipOf {
	var clips []clipOf
	for i, text := range hostile {
		clips = append(clips, clipOf{Title: text, Desc: text + " " + text, Tags: []string{text, "tag"}, Score: float64(i), Seconds: int64(i)})
	}
	return clips
}

// sample is a video that plays, from the emulator's.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "emulator", "media", name+".mp4"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// many are n clips of a catalog, of which nothing is in S3.
func many(n int) []catalog.Line {
	words := strings.Fields("why night trains matter the truth about price of bread old bridges before and after stop worrying sleep first marathon lighthouse keeper small languages bees maps 東京の夜景 новости größe")
	lines := make([]catalog.Line, n)
	for i := range lines {
		var text []string
		for w := range 30 {
			text = append(text, words[(i*7+w*w+i/31*w)%len(words)])
		}
		e := i / 5
		folder := fmt.Sprintf("exports/project-%d/task-%d/", e/7, e)
		at := time.Date(2026, 1, 1, 0, e, 0, 0, time.UTC)
		lines[i] = catalog.Line{
			ExportID: fmt.Sprintf("exp_%d", e), Idx: i % 5, Revision: 1, ProjectID: fmt.Sprintf("project-%d", e/7), ExportTaskID: fmt.Sprintf("task-%d", e),
			Manifest: folder + "manifest.json", CreatedAt: at, ArchivedAt: at, Resolution: "HD_720", CostUsage: 10,
			Title: strings.Join(text[:7], " "), Desc: strings.Join(text, " "), Tags: text[3:6], Score: float64(i * 13 % 100), DurationMS: int64(5000 + i*977%85000),
			Object: export.Object{Key: fmt.Sprintf("%sclip-%03d.mp4", folder, i%5), Size: 1e6, SHA256: strings.Repeat("ab", 32), CRC32: "AAAAAA==", ContentType: "video/mp4"},
		}
		lines[i].Thumbnail = &export.Object{Key: fmt.Sprintf("%sclip-%03d.jpg", folder, i%5), Size: 1e4}
	}
	return lines
}

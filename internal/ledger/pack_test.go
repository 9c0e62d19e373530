package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/view"
)

// words are titles and descriptions as long as the provider's.
func words(rnd *rand.Rand, n int) string {
	all := strings.Fields("the goal that nobody saw coming how a keeper turned one save into the match of his life why this coach never looks back " +
		"inside training with young players what changed after half time and three lessons from an unlikely champion")
	var out []string
	for range n {
		out = append(out, all[rnd.IntN(len(all))])
	}
	return strings.Join(out, " ")
}

// token is text that nothing compresses.
func token(rnd *rand.Rand, n int) string {
	sum := sha256.Sum256(fmt.Append(nil, rnd.Uint64(), n))
	return strings.Repeat(hex.EncodeToString(sum[:]), n/64+1)[:n]
}

// onItsWay is a record of n clips on their way, with all that the provider says.
func onItsWay(rnd *rand.Rand, project string, n int) *export.Record {
	now := time.Now().UTC()
	later := func(d time.Duration) time.Time { return now.Add(d + time.Duration(rnd.Int64N(int64(time.Second)))) }
	request := fmt.Sprintf(`{"project_id":"%s","clip_indices":[0,1,2,3,4],"target_lang":"en","resolution":"FHD_1080","enable_caption":true,`+
		`"caption_display":"both","cc_style_tpl":"temp-7","enable_ai_hook":true,"enable_ai_reframe":true,"ratio":"RATIO_9_16"}`, project)
	r := export.New("exp_"+token(rnd, 26), json.RawMessage(request), digestOf([]byte(request)), project, now)
	r.State, r.Attempts, r.Round, r.Step, r.Polls, r.Receipt, r.Receipts = export.Mirroring, 1, 1, 4, 4, export.ReceiptOpen, 1
	r.ExportTaskID, r.ProviderStatus, r.Outcome, r.CostUsage = token(rnd, 24), "SUCCEEDED", export.RenderSucceeded, 48
	r.SubmittedAt, r.FinishedAt, r.ExpireAt, r.ReadAt, r.NewsAt = later(time.Second), later(time.Minute), later(72*time.Hour).Truncate(time.Millisecond), later(time.Minute), later(time.Minute)
	r.UpdatedAt = later(time.Minute)
	r.IntentAt, r.IntentBy = now, token(rnd, 36)
	r.Trace = map[string]string{"traceparent": "00-" + token(rnd, 32) + "-" + token(rnd, 16) + "-01"}
	r.ClipCount = n
	folder := "exports/" + r.ProjectID + "/" + r.ExportTaskID + "/"
	for i := range n {
		title := words(rnd, 9)
		r.Clips[i] = &export.Clip{
			Idx: i, State: export.ClipReady, Title: title, Desc: words(rnd, 60), Tags: strings.Fields(words(rnd, 6)), Score: 90,
			BeginMS: int64(i) * 60_000, EndMS: int64(i)*60_000 + 40_000, Round: 1,
			Link: "https://cdn.example.com/" + token(rnd, 500), Thumbnail: "https://cdn.example.com/" + token(rnd, 300),
			Object: export.Object{
				Key: fmt.Sprintf("%sclip-%03d-%s.mp4", folder, i, strings.ReplaceAll(title, " ", "-")), Size: 10_000_000 + rnd.Int64N(9_000_000),
				SHA256: token(rnd, 64), CRC32: "AAAAAA==", ContentType: "video/mp4", Proofs: []string{"length", "container", "s3-part-checksums", "s3-head"},
			},
			Thumb: &export.Object{Key: folder + "thumb.jpg", Size: 1000, SHA256: token(rnd, 64)},
		}
	}
	answer, _ := json.Marshal(r.Clips)
	r.LastAnswer = answer
	return r
}

// archived lets a record be archived, as a worker does.
func archived(r *export.Record) error {
	for _, c := range r.Clips {
		c.State, c.ArchivedAt = export.ClipArchived, time.Now().UTC()
		r.ArchivedCount++
		r.ArchivedBytes += c.Object.Size
	}
	r.State, r.Read = export.Archived, export.ReadNone
	r.Manifest = "exports/" + r.ProjectID + "/" + r.ExportTaskID + "/manifest.json"
	return nil
}

// An archived export is kept short, shows what it showed before, and is recognized by
// its request.
func TestArchivedIsShort(t *testing.T) {
	rdb := redistest.Start(t).Client()
	l := New(Options{Redis: rdb})
	rnd := rand.New(rand.NewPCG(1, 2))
	used := func(id string) int64 {
		t.Helper()
		n, err := rdb.MemoryUsage(t.Context(), Key(id), 0).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	create := func(r *export.Record) {
		t.Helper()
		if ok, err := l.Create(t.Context(), r); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r := onItsWay(rnd, "d9594c5ceefdb7b3cbae", 5)
	create(r)
	before := used(r.ID)
	full, err := l.Update(t.Context(), r.ID, archived)
	if err != nil {
		t.Fatal(err)
	}
	shown := view.Of(full, view.CLI)
	short, err := l.Update(t.Context(), r.ID, func(r *export.Record) error {
		r.ReceiptPut(r.ExportTaskID, r.Receipts, export.ReceiptDone)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("mirroring %d bytes, archived %d, of them %d its document", before, used(r.ID), rdb.HStrLen(t.Context(), Key(r.ID), fieldDoc).Val())
	if n := used(r.ID); n > 1100 {
		t.Errorf("an archived export of five clips takes %d bytes", n)
	}
	for name, load := range map[string]func() (*export.Record, error){
		"whole":    func() (*export.Record, error) { return l.Load(t.Context(), r.ID) },
		"a head":   func() (*export.Record, error) { return l.LoadHead(t.Context(), r.ID) },
		"a clip":   func() (*export.Record, error) { return l.LoadClip(t.Context(), r.ID, 3) },
		"answered": func() (*export.Record, error) { return l.LoadAnswered(t.Context(), r.ID) },
		"listed": func() (*export.Record, error) {
			all, err := l.List(t.Context(), Filter{State: export.Archived}, nil)
			if err != nil || len(all) != 1 {
				return nil, fmt.Errorf("%d, %w", len(all), err)
			}
			return all[0], nil
		},
	} {
		got, err := load()
		if err != nil {
			t.Fatal(name, err)
		}
		now := view.Of(got, view.CLI)
		if name == "listed" { // a list shows nothing that is in the request
			now.Warnings = shown.Warnings
		}
		if !reflect.DeepEqual(now, shown) || !got.Short {
			a, _ := json.Marshal(now)
			b, _ := json.Marshal(shown)
			t.Errorf("%s: shown as\n%s, before\n%s", name, a, b)
		}
	}
	if digest := rdb.HGet(context.Background(), Key(r.ID), fieldDigest).Val(); digest != r.Digest || short.NeedsCare() {
		t.Errorf("digest %q, needs care: %v", digest, short.NeedsCare())
	}
}

// One that is to be cared for again is stored whole, with what is left of it, and then
// short again.
func TestShortIsChanged(t *testing.T) {
	l := New(Options{Redis: redistest.Start(t).Client()})
	r := onItsWay(rand.New(rand.NewPCG(3, 4)), "d9594c5ceefdb7b3cbae", 2)
	_ = archived(r)
	r.Receipt = export.ReceiptDone
	if ok, err := l.Create(t.Context(), r); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, says := range []string{export.ReceiptOpen, export.ReceiptDone} {
		for name, update := range map[string]func(func(*export.Record) error) (*export.Record, error){
			"whole": func(f func(*export.Record) error) (*export.Record, error) { return l.Update(t.Context(), r.ID, f) },
			"clip": func(f func(*export.Record) error) (*export.Record, error) {
				return l.UpdateClip(t.Context(), r.ID, 0, f)
			},
		} {
			if _, err := update(func(r *export.Record) error { r.ReceiptWritten(says); return nil }); err != nil {
				t.Fatal(err)
			}
			got, err := l.Load(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Clips) != 2 || got.Clips[1].Object.SHA256 != r.Clips[1].Object.SHA256 || got.Clips[1].Title != r.Clips[1].Title {
				t.Errorf("%s, %s: %+v", says, name, got.Clips)
			}
		}
	}
	got, err := l.Load(t.Context(), r.ID)
	if err != nil || !got.Short {
		t.Errorf("short: %v, %v", got.Short, err)
	}
}

// What cannot be made short is kept as it is: an odd value must not cost the record.
func TestAnOddRecordIsKeptWhole(t *testing.T) {
	l := New(Options{Redis: redistest.Start(t).Client()})
	r := onItsWay(rand.New(rand.NewPCG(5, 6)), "d9594c5ceefdb7b3cbae", 2)
	_ = archived(r)
	r.Receipt = export.ReceiptDone
	r.Clips[1].Object.SHA256 = "no hash"
	if ok, err := l.Create(t.Context(), r); !ok || err != nil {
		t.Fatal(ok, err)
	}
	got, err := l.Load(t.Context(), r.ID)
	if err != nil || got.Short || got.Clips[1].Object.SHA256 != "no hash" {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzUnpack(f *testing.F) {
	r := onItsWay(rand.New(rand.NewPCG(5, 6)), "d9594c5ceefdb7b3cbae", 3)
	_ = archived(r)
	doc, err := pack(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add(packedMark)
	f.Fuzz(func(t *testing.T, doc string) {
		if r, err := unpack(r.ID, doc); err == nil && r == nil {
			t.Error("neither a record nor an error")
		}
	})
}

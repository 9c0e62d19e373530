package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/index"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/notify"
	"github.com/clipferry/clipferry/internal/redistest"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

// bench is a real Redis, a real S3 and the program as a process.
type bench struct {
	t       *testing.T
	redis   *redistest.Server
	s3      *s3test.Server
	archive *storage.Archive
	env     []string
	labels  map[string]string // of the exports to come
}

func newBench(t *testing.T) *bench {
	if testing.Short() {
		t.Skip("needs a real Redis and a real S3 server")
	}
	b := &bench{t: t, redis: redistest.Start(t), s3: s3test.Start(t)}
	b.env = append(b.s3.Env(),
		"PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "CLIPFERRY_REDIS_URL="+b.redis.URL(), "CLIPFERRY_API_KEY=k",
		"CLIPFERRY_S3_BUCKET="+s3test.Bucket, "CLIPFERRY_S3_PATH_STYLE=true", "CLIPFERRY_HTTP_ADDR=")
	links, err := link.New(link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(links.Close)
	b.archive, err = storage.New(storage.Options{Client: b.s3.Client(), Bucket: s3test.Bucket, Prefix: "exports", Source: links})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command("clipferry", args...)
	cmd.Env = b.env
	return cmd
}

// clipferry runs the program to its end and wants an exit code.
func (b *bench) clipferry(want int, args ...string) (stdout, stderr string) {
	b.t.Helper()
	cmd := b.command(args...)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Errorf("clipferry %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, out.String(), msg.String())
	}
	return out.String(), msg.String()
}

func (b *bench) put(key string, body []byte) {
	b.t.Helper()
	bucket := s3test.Bucket
	_, err := b.s3.Client().PutObject(b.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		b.t.Fatal(err)
	}
}

// archived puts an export with one clip of that content into the bucket, as a
// worker leaves it.
func (b *bench) archived(ctx context.Context, id string, content []byte) (key string) {
	b.t.Helper()
	sum := sha256.Sum256(content)
	key = b.archive.Folder("p", "task-"+id) + "/clip-000-x.mp4"
	b.put(key, content)
	manifest, err := b.archive.PutManifest(ctx, storage.Manifest{
		ID: id, ProjectID: "p", ExportTaskID: "task-" + id, Request: json.RawMessage(`{"project_id":"p"}`),
		Answer: json.RawMessage(`{"status":"SUCCEEDED"}`), Clips: []storage.ManifestClip{{ManifestFile: storage.ManifestFile{Object: export.Object{
			Key: key, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]),
		}}}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.accepted(ctx, id)
	if err := b.archive.SyncReceipt(ctx, storage.Receipt{ID: id, ExportTaskID: "task-" + id, State: storage.ReceiptDone, Manifest: manifest}); err != nil {
		b.t.Fatal(err)
	}
	return key
}

// accepted puts the receipt of an export that was paid for into the bucket.
func (b *bench) accepted(ctx context.Context, id string) {
	b.t.Helper()
	err := b.archive.SyncReceipt(ctx, storage.Receipt{
		State: storage.ReceiptOpen,
		ID:    id, ExportTaskID: "task-" + id, ProjectID: "p", Request: json.RawMessage(`{"project_id":"p"}`), Submitted: time.Now(),
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.archived(t.Context(), "good", []byte("the clip"))
	changed := b.archived(t.Context(), "changed", []byte("the other clip"))
	b.accepted(t.Context(), "open")
	b.redis.Kill() // the archive speaks for itself

	if out, _ := b.clipferry(cli.Done, "verify", "good"); out != "good ok: 1 files, 8 B\n" {
		t.Errorf("verify good: %s", out)
	}
	out, msg := b.clipferry(cli.Done, "verify", "--all")
	if !strings.Contains(out, "good ok") || !strings.Contains(out, "changed ok") || strings.Contains(out, "open") || !strings.HasPrefix(msg, "2 archived exports are good, 0 are not; 1 are open,") {
		t.Errorf("verify --all: %s%s", out, msg)
	}
	out, msg = b.clipferry(cli.Done, "verify", "--part", "1/1")
	if !strings.Contains(out, "good ok") || !strings.Contains(msg, "part 1/1: 2 exports with 2 files and 22 B; 0 files are bad") {
		t.Errorf("verify --part: %s%s", out, msg)
	}
	lines := 0
	for _, part := range []string{"1/3", "2/3", "3/3"} {
		out, _ := b.clipferry(cli.Done, "verify", "--json", "--part", part)
		lines += strings.Count(out, "\n")
	}
	if lines != 2 {
		t.Errorf("%d exports are in three parts", lines)
	}
	b.put(changed, []byte("the 0ther clip"))
	if out, msg := b.clipferry(cli.Failed, "verify", "--part", "1/1"); !strings.Contains(out, "changed BAD "+changed) || !strings.Contains(msg, "1 files are bad") {
		t.Errorf("verify --part after a change: %s%s", out, msg)
	}
	for _, args := range [][]string{{}, {"--all", "--part", "1/2"}, {"--part", "1/2", "good"}, {"--part", "3/2"}, {"--all", "good"}} {
		b.clipferry(cli.Usage, append([]string{"verify"}, args...)...)
	}
	out, _ = b.clipferry(cli.Failed, "verify", "--all")
	if !strings.Contains(out, "good ok") || !strings.Contains(out, "changed BAD "+changed+": its bytes have changed") {
		t.Errorf("verify --all after a change: %s", out)
	}
	if out, _ := b.clipferry(cli.Failed, "verify", "--json", "changed"); !strings.Contains(out, `"problem":"its bytes have changed`) {
		t.Errorf("verify --json: %s", out)
	}
	if _, msg := b.clipferry(cli.Failed, "verify", "nobody"); !strings.Contains(msg, "nobody: there is no receipt") {
		t.Errorf("verify nobody: %s", msg)
	}
	if _, msg := b.clipferry(cli.Failed, "verify", "open"); !strings.Contains(msg, "open: there is no manifest") {
		t.Errorf("verify open: %s", msg)
	}
	b.clipferry(cli.Usage, "verify")
	b.clipferry(cli.Usage, "verify", "--all", "good")
}

// Results that can't be printed say nothing of the archive.
func TestVerifyOnAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	b := newBench(t)
	b.archived(t.Context(), "good", []byte("the clip"))
	var msg bytes.Buffer
	cmd := b.command("verify", "--all")
	cmd.Stdout, cmd.Stderr = full, &msg
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != cli.Failed || !strings.Contains(msg.String(), "no space left") || strings.Contains(msg.String(), "are not") {
		t.Errorf("exit code %d: %s", code, msg.String())
	}
}

// An archive in which there is nothing to verify is not one that is good.
func TestVerifyOfNothing(t *testing.T) {
	b := newBench(t)
	b.accepted(t.Context(), "open")
	if out, msg := b.clipferry(cli.Failed, "verify", "--all"); out != "" || !strings.HasPrefix(msg, "0 archived exports are good, 0 are not; 1 are open,") {
		t.Errorf("%s%s", out, msg)
	}
}

// webhookSecret is the one of the specification's example.
const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestRecover(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.archived(t.Context(), "over", []byte("the clip"))
	b.accepted(t.Context(), "open")
	if out, _ := b.clipferry(cli.Done, "recover"); out != "rebuilt 1 exports; 0 are known already, 1 are over\n" {
		t.Errorf("recover: %s", out)
	}
	if out, _ := b.clipferry(cli.Done, "recover"); out != "rebuilt 0 exports; 1 are known already, 1 are over\n" {
		t.Errorf("recover again: %s", out)
	}
	out, _ := b.clipferry(cli.Done, "status", "--json", "open")
	if !strings.Contains(out, `"state":"rendering"`) || !strings.Contains(out, `"export_task_id":"task-open"`) {
		t.Errorf("status: %s", out)
	}
	envelope, err := notify.NewEnvelope([]string{webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.archive.SyncReceipt(t.Context(), storage.Receipt{
		State: storage.ReceiptOpen,
		ID:    "told", ExportTaskID: "task-told", ProjectID: "p", Request: json.RawMessage(`{"project_id":"p"}`), Submitted: time.Now(),
		Notify: envelope.ForReceipt("told", json.RawMessage(`{"webhook":"https://example.com/?token=hush"}`)),
	}); err != nil {
		t.Fatal(err)
	}
	out, msg := b.clipferry(cli.Failed, "recover")
	if out != "rebuilt 1 exports; 1 are known already, 1 are over\n" || !strings.Contains(msg, "export told is rebuilt, but nobody will be told of its end: ") ||
		!strings.Contains(msg, "CLIPFERRY_WEBHOOK_SECRETS") {
		t.Errorf("recover without the secret: %s%s", out, msg)
	}
	b.env = append(b.env, "CLIPFERRY_WEBHOOK_SECRETS="+webhookSecret)
	if out, _ := b.clipferry(cli.Done, "recover"); out != "rebuilt 0 exports; 2 are known already, 1 are over\n" {
		t.Errorf("recover with the secret: %s", out)
	}
	// The webhook of a batch comes back too, once its secret is there.
	kept := storage.Batch{Members: []string{"over", "never"}}
	kept.Name, kept.Count, kept.Created = "season-1", 2, time.Now()
	kept.Notify = envelope.ForReceipt("batch season-1", json.RawMessage(`{"webhook":"https://example.com/?token=hush"}`))
	if err := b.archive.KeepBatch(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.clipferry(cli.Done, "recover"); !strings.Contains(out, "rebuilt batch season-1\n1 of its exports were not ordered and are lost: enqueue the same file") {
		t.Errorf("recover a batch: %s", out)
	}
	if out, _ := b.clipferry(cli.Done, "status", "--batch", "season-1"); !strings.Contains(out, "1 of 2 final: 1 archived, 1 not enqueued") {
		t.Errorf("status of a batch that was recovered: %s", out)
	}
	unread := kept
	unread.Name, unread.Notify = "season-2", envelope.ForReceipt("another", json.RawMessage(`{"webhook":"https://example.com/?token=hush"}`))
	if err := b.archive.KeepBatch(t.Context(), unread); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.clipferry(cli.Failed, "recover"); !strings.Contains(out, "rebuilt batch season-2\n1 of its exports were not found, and not everything could be read: recover again") {
		t.Errorf("recover a batch with a fault: %s", out)
	}
	if b, err := index.LoadBatch(t.Context(), b.redis.Client(), "season-1"); err != nil || string(b.Notify) != `{"webhook":"https://example.com/?token=hush"}` {
		t.Errorf("%s, %v", b.Notify, err)
	}
	b.env = append(b.env, "CLIPFERRY_S3_BUCKET=")
	if _, msg := b.clipferry(cli.Config, "recover"); msg != "CLIPFERRY_S3_BUCKET: required\n" {
		t.Errorf("without a bucket: %s", msg)
	}
}

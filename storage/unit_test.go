package storage

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"hash/crc32"
	"hash/crc64"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"pgregory.net/rapid"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
)

func TestOptions(t *testing.T) {
	good := Options{Client: &s3.Client{}, Bucket: "b", Source: limited(1 << 30)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{PartSize: 1, PartsInFlight: -1, PartsPerFile: -1, Checksum: "sha", Object: ObjectOptions{LockMode: "GOVERNANCE"}})
	for _, want := range []string{"client", "bucket", "source", "part size", "parts in flight", "parts per file", "checksum", "object lock"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}

// Buffers are never more than there may be, every file gets on, and what is
// waited for in vain is not lost.
func TestBuffersAreBounded(t *testing.T) {
	const total = 5
	p := newBufferPool(8, total)
	var inUse, most atomic.Int32
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			s := p.join(4)
			defer s.leave()
			var parts sync.WaitGroup
			for n := range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%7 == 3 {
					cancel()
				}
				b, err := s.acquire(ctx)
				cancel()
				if err != nil {
					continue
				}
				parts.Go(func() {
					for now := inUse.Add(1); ; {
						m := most.Load()
						if now <= m || most.CompareAndSwap(m, now) {
							break
						}
					}
					b[0]++
					inUse.Add(-1)
					s.release(b)
				})
			}
			parts.Wait()
		})
	}
	wg.Wait()
	if most.Load() > total || p.used != 0 || len(p.waiting) != 0 || len(p.free) > total {
		t.Errorf("at most %d in use, %d now, %d waiting, %d free", most.Load(), p.used, len(p.waiting), len(p.free))
	}
}

func TestBuffersAreShared(t *testing.T) {
	p := newBufferPool(8, 4)
	a := p.join(4)
	for range 4 {
		if _, err := a.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b := p.join(4)
	got := make(chan []byte)
	go func() {
		buf, _ := b.acquire(t.Context())
		got <- buf
	}()
	go a.release(make([]byte, 8))
	<-got
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := a.acquire(ctx); err == nil {
		t.Error("one of two files took more than half")
	}
}

func TestIdleBuffersAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newBufferPool(1<<20, 2)
		s := p.join(1)
		b, err := s.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b[0] = 1
		s.release(b)
		s.leave()
		time.Sleep(idleBuffers - time.Second)
		synctest.Wait()
		if p.mu.Lock(); b[0] != 1 {
			t.Error("given back at once")
		}
		p.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p.mu.Lock(); b[0] != 0 {
			t.Error("an idle worker keeps its memory")
		}
		p.mu.Unlock()
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := defaultBackoff
		waited := func(ctx context.Context, attempt int, err error) (time.Duration, bool) {
			start := time.Now()
			ok := b.wait(ctx, attempt, err)
			return time.Since(start), ok
		}
		if d, ok := waited(t.Context(), 1, nil); !ok || d < b.first/2 || d > b.first {
			t.Errorf("first: %s, %v", d, ok)
		}
		if d, ok := waited(t.Context(), 50, nil); !ok || d < b.max/2 || d > b.max {
			t.Errorf("late: %s, %v", d, ok)
		}
		asked := fault.New(fault.Retry, "m", nil)
		asked.RetryAfter = 20 * time.Second
		if d, ok := waited(t.Context(), 1, asked); !ok || d < asked.RetryAfter {
			t.Errorf("asked: %s, %v", d, ok)
		}
		asked.RetryAfter = maxAskedWait + 1
		if d, ok := waited(t.Context(), 1, asked); ok || d != 0 {
			t.Errorf("asked for too long: %s, %v", d, ok)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d, ok := waited(ctx, 20, nil); ok || d != 0 {
			t.Errorf("past the deadline: %s, %v", d, ok)
		}
	})
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(newBufferPool(8, 8).join(8), 8)
		p.slower()
		p.slower() // the same overload
		if p.width != 4 {
			t.Errorf("width %d after one push", p.width)
		}
		time.Sleep(2 * time.Second)
		for range 20 {
			time.Sleep(2 * time.Second)
			p.slower()
		}
		if p.width != 1 {
			t.Errorf("width %d, not 1", p.width)
		}
		for range 200 {
			p.faster()
		}
		if p.width != 8 {
			t.Errorf("width %d, not 8 again", p.width)
		}
	})
}

func digestsOf(b []byte) []link.Digest {
	m := md5.Sum(b)
	h32, h64 := crc32.New(crc32.MakeTable(crc32.Castagnoli)), crc64.New(crc64NVME)
	h32.Write(b)
	h64.Write(b)
	return []link.Digest{
		{Algorithm: "md5", Sum: m[:], Header: "etag"},
		{Algorithm: "crc32c", Sum: h32.Sum(nil), Header: "x-goog-hash"},
		{Algorithm: "crc64nvme", Sum: h64.Sum(nil), Header: "x-amz-checksum-crc64nvme"},
	}
}

// The check value of the catalog of CRCs.
func TestCRC64NVME(t *testing.T) {
	if got := crc64.Checksum([]byte("123456789"), crc64NVME); got != 0xae8b14860a799888 {
		t.Errorf("got %x", got)
	}
}

// A proof that is saved and resumed anywhere says what one that was not says.
func TestProofSurvives(t *testing.T) {
	clip := clipOf(5000, 1)
	rapid.Check(t, func(t *rapid.T) {
		digests := rapid.SliceOfDistinct(rapid.SampledFrom(digestsOf(clip)), func(d link.Digest) string { return d.Algorithm }).Draw(t, "digests")
		p := newProof(Video, link.Info{Size: int64(len(clip)), Digests: digests})
		for rest := clip; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if err := p.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			s, err := p.save()
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var back proofState
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if p, err = resumeProof(back, int64(len(clip))); err != nil {
				t.Fatal(err)
			}
		}
		v, err := p.finish()
		if err != nil || v.sha256 != sum(clip) || v.crc != crc32.ChecksumIEEE(clip) {
			t.Fatalf("%+v, %v", v, err)
		}
		if len(digests) == 1 && len(v.proofs) != 3 {
			t.Fatalf("proofs %v", v.proofs)
		}
	})
}

func TestProofRefuses(t *testing.T) {
	clip := clipOf(5000, 1)
	for i := range digestsOf(clip) {
		d := digestsOf(clip)[i]
		d.Sum[0] ^= 1
		p := newProof(Video, link.Info{Size: -1, Digests: []link.Digest{d}})
		if err := p.Write(clip); err != nil {
			t.Fatal(err)
		}
		if _, err := p.finish(); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v", d.Algorithm, err)
		}
	}
	p := newProof(Video, link.Info{Size: 4999})
	if err := p.Write(clip); !errors.Is(err, ErrContent) {
		t.Errorf("longer: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	good := record{
		Version: recordVersion, Upload: "u", Size: minPartSize + 1, Part: minPartSize, Validator: `"v"`, Parts: 1,
		CRCs: checksums{1}, Tags: checksums{2}, Proof: proofState{Seen: minPartSize},
	}
	b, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1,"upload":"u","validator":"v","size":9223372036854775807,"part":5242880}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parseRecord(b)
		if err != nil {
			return
		}
		l := layout{size: rec.Size, part: rec.Part}
		if n := l.count(); rec.Parts > n || n > maxParts || len(rec.CRCs) != rec.Parts {
			t.Errorf("%+v", rec)
		}
		_, _ = resumeProof(rec.Proof, rec.Size)
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rec := record{Version: recordVersion, Upload: "u", Size: 50e9, Part: minPartSize, Validator: `"v"`}
	for i := range layoutOf(rec).count() - 1 {
		rec.CRCs, rec.Tags = append(rec.CRCs, uint32(i*7)), append(rec.Tags, ^uint32(i))
		rec.Parts++
	}
	rec.Proof.Seen = int64(rec.Parts) * rec.Part
	b, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	back, err := parseRecord(b)
	if err != nil || back.CRCs[77] != rec.CRCs[77] || back.Tags[77] != rec.Tags[77] {
		t.Fatal(err)
	}
	if len(b) > 120_000 {
		t.Errorf("the record of 50 GB has %d bytes", len(b))
	}
}

func layoutOf(r record) layout { return layout{size: r.Size, part: r.Part} }

func TestImageFormat(t *testing.T) {
	for ending, head := range map[string]string{
		".jpg": "\xff\xd8\xff\xe0", ".png": "\x89PNG\r\n\x1a\n", ".gif": "GIF89a", ".webp": "RIFF\x01\x02\x03\x04WEBPVP8", ".avif": "\x00\x00\x00\x1cftypavif",
	} {
		if f, ok := imageFormat([]byte(head)); !ok || f.ending != ending {
			t.Errorf("%s: %+v", ending, f)
		}
	}
	for _, head := range []string{"", "\xff", "<html>", "RIFF\x01\x02\x03\x04WAVE", "RIFF"} {
		if f, ok := imageFormat([]byte(head)); ok {
			t.Errorf("%q: %+v", head, f)
		}
	}
}

func TestMultipartOrder(t *testing.T) {
	// parts are named in order, whatever the order they ended in
	a := &Archive{opts: Options{Bucket: "b", Checksum: ChecksumCRC32}}
	in := a.completeInput("k", "u", []sentPart{{"e1", 1}, {"e2", 2}}, verdict{size: 9, crc: 7}, allFeatures)
	if *in.MpuObjectSize != 9 || *in.IfNoneMatch != "*" || *in.ChecksumCRC32 != encodeCRC(7) ||
		*in.MultipartUpload.Parts[1].PartNumber != 2 || *in.MultipartUpload.Parts[1].ETag != "e2" {
		t.Errorf("%+v", in)
	}
	if crc, ok := decodeCRC(encodeCRC(0xdeadbeef)); !ok || crc != 0xdeadbeef {
		t.Error(crc)
	}
}

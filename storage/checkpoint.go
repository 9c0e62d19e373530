package storage

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

const (
	recordVersion = 1
	// flushTimeout bounds the last save of a transfer that is being stopped.
	flushTimeout = 5 * time.Second
)

// record is a transfer under way, as another process needs it to go on: which
// upload, of which version of the source, and the proof up to a part. Parts
// before Parts are in S3 and in the proof; what S3 holds beyond is used, but its
// bytes have to pass the proof again.
type record struct {
	Version   int          `json:"v"`
	Key       string       `json:"key,omitempty"` // of the upload; none means the one of the record
	Upload    string       `json:"upload"`
	Size      int64        `json:"size"`
	Part      int64        `json:"part"`
	Validator string       `json:"validator"`
	Checksum  ChecksumMode `json:"checksum,omitempty"` // of its parts; none means ChecksumCRC32
	Parts     int          `json:"parts"`
	CRCs      checksums    `json:"crcs"`
	Tags      checksums    `json:"tags"` // CRC32 of each part's ETag, for servers that list no checksums
	Proof     proofState   `json:"proof"`
	Fetched   int64        `json:"fetched"` // bytes read from links by all processes so far
	Started   time.Time    `json:"started"`
	Saved     time.Time    `json:"saved"`
	// SHA256 is set once everything is proven and the upload is about to be completed.
	SHA256 string   `json:"sha256,omitempty"`
	Proofs []string `json:"proofs,omitempty"`
}

// checksums are 32-bit sums in four bytes each.
type checksums []uint32

// MarshalText implements encoding.TextMarshaler.
func (c checksums) MarshalText() ([]byte, error) {
	raw := make([]byte, 0, 4*len(c))
	for _, v := range c {
		raw = binary.BigEndian.AppendUint32(raw, v)
	}
	return []byte(base64.StdEncoding.EncodeToString(raw)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *checksums) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(b))
	if err != nil {
		return err
	}
	if len(raw)%4 != 0 {
		return errors.New("checksums: cut short")
	}
	*c = make(checksums, 0, len(raw)/4)
	for chunk := range slices.Chunk(raw, 4) {
		*c = append(*c, binary.BigEndian.Uint32(chunk))
	}
	return nil
}

// tagSum is what a record keeps of a part's ETag.
func tagSum(etag string) uint32 { return crc32.ChecksumIEEE([]byte(etag)) }

// parseRecord accepts only what a transfer can safely go on from.
func parseRecord(b []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	l := layout{size: r.Size, part: r.Part}
	switch {
	case r.Version != recordVersion:
		return nil, fmt.Errorf("version %d is not known", r.Version)
	case r.Upload == "" || r.Validator == "":
		return nil, errors.New("no upload or no validator")
	case r.Size <= 0 || r.Part < minPartSize || r.Part > maxPartSize || l.count() > maxParts:
		return nil, fmt.Errorf("impossible sizes %d and %d", r.Size, r.Part)
	case r.Parts < 0 || r.Parts > l.count() || len(r.CRCs) != r.Parts || len(r.Tags) != r.Parts:
		return nil, errors.New("parts do not add up")
	case r.Proof.Seen != min(r.Size, int64(r.Parts)*r.Part):
		return nil, errors.New("the proof is of other bytes than the parts")
	}
	r.Checksum = cmp.Or(r.Checksum, ChecksumCRC32)
	return &r, nil
}

// tracker keeps a transfer's record up to date while its parts finish in any
// order, and saves it in the background, always the latest one only.
type tracker struct {
	a   *Archive
	key string

	saving sync.Mutex // held over a save, so that an older one never comes last

	mu      sync.Mutex
	rec     record
	done    map[int]donePart // finished, but an earlier one is not
	unsaved bool

	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// donePart is a part that S3 has and that the proof has taken in.
type donePart struct {
	crc, tag uint32
	proof    proofState // after this part
}

func (a *Archive) track(ctx context.Context, key string, rec record) *tracker {
	t := &tracker{
		a: a, key: key, rec: rec, done: map[int]donePart{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
		unsaved: true, // so that the upload is known before its first part
	}
	t.signal()
	go t.run(context.WithoutCancel(ctx))
	return t
}

// finish records a finished part, and how many bytes were read for it and all
// the others.
func (t *tracker) finish(n int, p donePart, fetched int64) {
	t.mu.Lock()
	t.rec.Fetched = fetched
	t.done[n] = p
	for {
		next, ok := t.done[t.rec.Parts]
		if !ok {
			break
		}
		delete(t.done, t.rec.Parts)
		t.rec.CRCs = append(t.rec.CRCs, next.crc)
		t.rec.Tags = append(t.rec.Tags, next.tag)
		t.rec.Proof = next.proof
		t.rec.Parts++
		t.unsaved = true
	}
	t.mu.Unlock()
	t.signal()
}

// seal records that everything is proven, and returns once that is saved: should
// the response to the completion be lost, the record still knows the hash.
func (t *tracker) seal(ctx context.Context, v verdict) {
	t.mu.Lock()
	t.rec.SHA256, t.rec.Proofs = v.sha256, v.proofs
	t.unsaved = true
	t.mu.Unlock()
	t.save(ctx)
}

func (t *tracker) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tracker) run(ctx context.Context) {
	defer close(t.stopped)
	for {
		select {
		case <-t.wake:
			t.save(ctx)
		case <-t.stop:
			t.save(ctx)
			return
		}
	}
}

// save writes the record if it changed. A failure costs a resume at worst, so
// it is logged and the transfer goes on.
func (t *tracker) save(ctx context.Context) {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	if !t.unsaved {
		t.mu.Unlock()
		return
	}
	t.unsaved = false
	t.rec.Saved = t.a.now().UTC()
	b, err := json.Marshal(t.rec)
	t.mu.Unlock()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		err = t.a.opts.Checkpoints.Save(ctx, t.key, b)
	}
	if err != nil {
		t.a.log.WarnContext(ctx, "transfer checkpoint not saved", logkey.Key, t.key, logkey.Error, err)
	}
}

// close saves what is unsaved and ends the saver.
func (t *tracker) close() {
	close(t.stop)
	<-t.stopped
}

// loadRecord returns the record of key, nil when there is none that can be used.
func (a *Archive) loadRecord(ctx context.Context, key string) *record {
	b, err := a.opts.Checkpoints.Load(ctx, key)
	if err != nil {
		a.log.WarnContext(ctx, "transfer checkpoint not loaded, starting anew", logkey.Key, key, logkey.Error, err)
		return nil
	}
	if b == nil {
		return nil
	}
	rec, err := parseRecord(b)
	if err != nil {
		a.log.WarnContext(ctx, "transfer checkpoint not usable, starting anew", logkey.Key, key, logkey.Error, err)
		return nil
	}
	return rec
}

func (a *Archive) dropRecord(ctx context.Context, key string) {
	if err := a.opts.Checkpoints.Delete(ctx, key); err != nil {
		a.log.WarnContext(ctx, "transfer checkpoint not deleted", logkey.Key, key, logkey.Error, err)
	}
}

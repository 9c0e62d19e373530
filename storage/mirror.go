package storage

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
	"github.com/clipferry/clipferry/storage/internal/isobmff"
)

// maxRestarts is how often one Mirror begins again from the first byte: the
// source changed, broke off without ranges, or S3 forgot the upload.
const maxRestarts = 3

// Job is one file to archive.
type Job struct {
	// Export is the id of the export that the file belongs to.
	Export string
	// Key is where the file shall be. A Video's ends in .mp4, which becomes .mov if
	// it turns out to be a QuickTime file. An Image's key has no ending: the one of
	// its format is added.
	Key  string
	Link string
	Kind Kind
	// Filename is what a download is called, in any script; empty for none. It
	// ends as Key does.
	Filename string
	// Metadata is kept with the object, as far as S3 takes it.
	Metadata map[string]string
	// LastTry says that nobody will ask for the file again. A video that is not whole
	// is archived then if it begins like one and comes twice the same: it would be
	// lost otherwise. Its Proofs hold ProofServedTwice.
	LastTry bool
	// Deadline is when the transfer has lost its purpose; zero means never.
	Deadline time.Time
	// Progress is given how many bytes are in S3, of how many (-1 for unknown). It
	// is called from several goroutines, never at once, and must not block.
	Progress func(done, total int64)
}

// Result is a file that is in S3, proven, and how it got there.
type Result struct {
	export.Object
	ETag string
	// Fetched counts the bytes read from the link by this call, Resumed those
	// that earlier calls had left in S3. Refetched is what all calls together
	// read more than once.
	Fetched, Resumed, Refetched int64
	// Found says that the object was there already and nothing was written.
	Found bool
}

// Mirror carries a file from its link to its key and returns once it is proven
// to be there. Run again, even at the same time elsewhere, it finds what is
// there, or goes on where an earlier run was cut; it never writes over an object.
//
// Faults are of the class LinkExpired (run it again with a fresh link, it goes
// on), Terminal (somebody must act) or Retry; of these last, the ones that wrap
// ErrContent mean that the link gave the wrong bytes.
func (a *Archive) Mirror(ctx context.Context, job Job) (Result, error) {
	if job.Kind == Image {
		return a.mirror(ctx, job)
	}
	return a.breaker.transfer(ctx, job.Key, func() (Result, error) { return a.mirror(ctx, job) })
}

func (a *Archive) mirror(ctx context.Context, job Job) (Result, error) {
	if !job.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, job.Deadline, errors.New("the deadline has passed"))
		defer cancel()
	}
	m := &mirror{a: a, job: job, key: job.Key, filename: job.Filename, format: mp4, log: a.log.With(logkey.Key, job.Key)}
	var err error
	if m.features, err = a.features(ctx); err != nil {
		return Result{}, m.outcome(ctx, err)
	}
	if job.Kind == Image {
		obj, err := m.image(ctx)
		if err != nil {
			return Result{}, m.outcome(ctx, err)
		}
		return obj, nil
	}
	return m.video(ctx)
}

// mirror is one call of Mirror.
type mirror struct {
	a        *Archive
	job      Job
	log      *slog.Logger
	features features
	// What the file turns out to be, and where it goes therefore; known once its
	// first bytes are.
	format        format
	key, filename string
	identified    bool

	sequential bool // the source turned out to ignore ranges, or to change between any two
	changed    bool // it has changed under this call
	// untagged is the SHA-256 of what was read and did not fit its tag, see tagMismatch.
	untagged string
	// asServed says that the last try goes on with what is no whole video, and served
	// is the SHA-256 of what was read so, see servedOnce.
	asServed bool
	served   string

	mu      sync.Mutex // guards the counts and Progress
	fetched int64      // read from the link by this call
	earlier int64      // read from it by earlier calls, as far as they are known
	resumed int64      // found in S3, left by earlier calls
	stored  int64      // in S3 by now
}

func (m *mirror) addFetched(n int64) {
	m.mu.Lock()
	m.fetched += n
	m.mu.Unlock()
}

// read is how many bytes all calls have read from links.
func (m *mirror) read() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.earlier + m.fetched
}

func (m *mirror) addStored(n, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored += n
	if m.job.Progress != nil {
		m.job.Progress(m.stored, total)
	}
}

// identify notes the format of the file, which its key and name end in.
func (m *mirror) identify(f format) {
	m.identified, m.format = true, f
	named := func(name string) string {
		if name == "" {
			return ""
		}
		return strings.TrimSuffix(name, mp4.ending) + f.ending
	}
	m.key, m.filename = named(m.job.Key), named(m.job.Filename)
}

// keys are where the file may be already.
func (m *mirror) keys() []string {
	if m.identified || !strings.HasSuffix(m.job.Key, mp4.ending) {
		return []string{m.key}
	}
	keys := []string{m.job.Key}
	for _, f := range []format{quickTime, webM, mpegTS} {
		keys = append(keys, strings.TrimSuffix(m.job.Key, mp4.ending)+f.ending)
	}
	return keys
}

func (m *mirror) attributes(sha string) attributes {
	own := map[string]string{metaExport: m.job.Export}
	if sha != "" {
		own[metaSHA256] = sha
	}
	return attributes{
		contentType: m.format.contentType,
		disposition: contentDisposition(m.filename),
		metadata:    metadata(own, m.job.Metadata),
	}
}

// video archives a clip, beginning anew as often as it makes sense.
func (m *mirror) video(ctx context.Context) (Result, error) {
	for restarts := 0; ; restarts++ {
		obj, err := m.attempt(ctx)
		if err == nil {
			return obj, nil
		}
		if !m.startsAnew(ctx, err) || restarts >= maxRestarts || ctx.Err() != nil {
			return Result{}, m.outcome(ctx, err)
		}
		m.log.InfoContext(ctx, "transfer starts anew", logkey.Error, err)
		if !m.a.backoff.wait(ctx, restarts+1, nil) {
			return Result{}, m.outcome(ctx, err)
		}
	}
}

// attempt carries the clip, or finds it. It looks at the key before it reads
// much; a small file is put under the condition that the key is free, which
// gives the same with one request less.
func (m *mirror) attempt(ctx context.Context) (Result, error) {
	a := m.a
	rec := a.loadRecord(ctx, m.job.Key)
	if rec != nil || !m.features.create {
		if obj, found, err := m.look(ctx, rec); found || err != nil {
			return obj, err
		}
	}
	if rec != nil && !m.sequential {
		obj, err := m.resume(ctx, rec)
		if !errors.Is(err, errNotResumable) {
			return obj, err
		}
		m.log.InfoContext(ctx, "transfer starts anew", logkey.Error, err)
		a.abortUpload(ctx, m.key, rec.Upload)
		a.dropRecord(ctx, m.job.Key)
		m.stored, m.resumed = 0, 0
	}
	opened, err := a.opts.Source.Open(ctx, m.job.Link, link.Range{From: 0, To: -1})
	if err != nil {
		// a dead link does not matter where the clip is archived already
		if obj, found, lerr := m.look(ctx, rec); found {
			return obj, lerr
		}
		return Result{}, err
	}
	defer func() { _ = opened.Close() }()
	body := newResponse(opened)
	format, _ := videoFormat(body.peek()) // what is none is refused when all of it is read
	m.identify(format)
	small := body.Info.Size >= 0 && body.Info.Size <= a.partSize(body.Info.Size)
	if !small || format == webM || format == mpegTS { // these two would be refused but on the last try
		if obj, found, err := m.look(ctx, rec); found || err != nil {
			return obj, err
		}
	}
	if small {
		return m.small(ctx, body)
	}
	if m.sequential || !body.Info.Ranges || body.Info.Validator() == "" || body.Info.Size < 0 {
		return m.stream(ctx, body)
	}
	return m.ranges(ctx, body)
}

// look reuses what is under the key already; false when nothing is.
func (m *mirror) look(ctx context.Context, rec *record) (Result, bool, error) {
	for _, key := range m.keys() {
		st, exists, err := m.a.head(ctx, key)
		if err != nil {
			return Result{}, false, err
		}
		if exists {
			obj, err := m.reuseObject(ctx, key, st, rec)
			return obj, true, err
		}
	}
	return Result{}, false, nil
}

// outcome is the fault that a failed attempt means to the caller.
func (m *mirror) outcome(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errUploadGone):
		return fault.New(fault.Retry, "S3 lost the upload of "+m.job.Key, err)
	case errors.Is(err, errNoRanges):
		return fault.New(fault.Retry, "the source serves ranges only sometimes", err)
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	return s3Fault(ctx, "archiving "+m.job.Key, err)
}

// startsAnew says whether err is one that another run from the first byte may
// repair, and prepares for it.
func (m *mirror) startsAnew(ctx context.Context, err error) bool {
	var tag tagMismatch
	var once servedOnce
	switch {
	case errors.As(err, &once):
		if m.served != "" { // another file each time
			return false
		}
		m.served = once.sha256
	case errors.Is(err, isobmff.ErrNotVideo):
		if !m.job.LastTry || m.asServed {
			return false
		}
		m.asServed, m.sequential = true, true // in order, and with nothing to resume
	case errors.Is(err, errNoRanges):
		m.sequential = true
	case errors.Is(err, link.ErrChanged):
		// Servers that take turns may each name another version of one file, and
		// each of their responses is whole.
		m.sequential = m.sequential || m.changed
		m.changed = true
	case errors.As(err, &tag):
		m.untagged = tag.sha256
	case errors.Is(err, errUploadGone):
	case errors.Is(err, errStreamCut):
		return fault.ClassOf(err) == fault.Retry // and nothing was recorded
	default:
		return false
	}
	m.a.dropRecord(context.WithoutCancel(ctx), m.job.Key)
	m.stored, m.resumed = 0, 0
	return true
}

// proof begins the proof of what the source describes as info.
func (m *mirror) proof(info link.Info) *proof {
	p := newProof(m.job.Kind, info)
	p.earlier, p.asServed, p.served = m.untagged, m.asServed, m.served
	return p
}

// small carries a file that one buffer holds.
func (m *mirror) small(ctx context.Context, body *response) (Result, error) {
	share := m.a.buffers.join(1)
	defer share.leave()
	buf, err := share.acquire(ctx)
	if err != nil {
		return Result{}, s3Fault(ctx, "waiting for memory", err)
	}
	defer share.release(buf)
	b := buf[:body.Info.Size]
	src := partSource{m: m, info: body.Info, first: body}
	if err := src.read(ctx, 0, b); err != nil {
		return Result{}, err
	}
	return m.putWhole(ctx, b, body.Info)
}

// putWhole proves and puts a file that is in memory whole.
func (m *mirror) putWhole(ctx context.Context, b []byte, info link.Info) (Result, error) {
	proof := m.proof(info)
	if err := proof.Write(b); err != nil {
		return Result{}, err
	}
	v, err := proof.finish()
	if err != nil {
		return Result{}, err
	}
	if m.job.Kind == Image {
		f, _ := imageFormat(b) // or it would not be proven
		m.identify(f)
	}
	w, err := m.a.putSmall(ctx, m.key, b, v, m.attributes(v.sha256))
	if err != nil {
		return Result{}, err
	}
	m.addStored(v.size, v.size)
	return m.confirm(ctx, m.key, v, w)
}

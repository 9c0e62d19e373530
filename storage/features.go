package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"hash/crc32"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// features are what an S3 server does of what not every server does. They are
// tried on objects of our own before the first request that depends on one, once
// in a process; a feature that failed there is not relied upon.
type features struct {
	// create: PutObject with If-None-Match leaves an object that is there alone.
	create bool
	// complete: so does CompleteMultipartUpload.
	complete bool
	// replace is how PutObject wants the entity tag in If-Match.
	replace matchForm
	// remove: DeleteObject with If-Match leaves another object alone.
	remove bool
	// verifiesPut and verifiesPart: a body with a wrong checksum is refused.
	verifiesPut, verifiesPart bool
	// echoes: the server shows a checksum that it was sent, right or wrong.
	echoes bool
	// plainComplete: CompleteMultipartUpload takes no checksums.
	plainComplete bool
}

// matchForm is how a server wants an entity tag in If-Match.
type matchForm int

const (
	noMatch       matchForm = iota // it does not keep to If-Match
	quotedMatch                    // as RFC 9110 has it
	unquotedMatch                  // Ceph compares it with the bare tag
)

// ifMatch is the header for an entity tag as S3 gave it; nil for none.
func (f matchForm) ifMatch(etag string) *string {
	bare := strings.Trim(etag, `"`)
	switch {
	case bare == "" || bare == unknownETag || f == noMatch:
		return nil
	case f == quotedMatch:
		return aws.String(`"` + bare + `"`)
	}
	return &bare
}

// strongETag is an entity tag without what proxies do to it: they mark it as weak.
func strongETag(etag *string) string { return strings.TrimPrefix(aws.ToString(etag), "W/") }

// featureTest remembers what the server can do.
type featureTest struct {
	mu    sync.Mutex // held by who tries
	known atomic.Pointer[features]
}

// features returns what the server can do, once it has been tried.
func (a *Archive) features(ctx context.Context) (features, error) {
	if f := a.tested.known.Load(); f != nil {
		return *f, nil
	}
	a.tested.mu.Lock()
	defer a.tested.mu.Unlock()
	if f := a.tested.known.Load(); f != nil {
		return *f, nil
	}
	for n := 1; ; n++ {
		f, err := a.once.tryFeatures(ctx)
		if err == nil {
			a.tested.known.Store(&f)
			a.logFeatures(ctx, f)
			return f, nil
		}
		if n >= maxFeatureTries || !isUnavailable(err) || errors.Is(err, errOpen) || !a.backoff.wait(ctx, n, err) {
			return features{}, err
		}
	}
}

const maxFeatureTries = 3

func (a *Archive) logFeatures(ctx context.Context, f features) {
	lacks := func(there bool, text string) {
		if !there {
			a.log.WarnContext(ctx, "this S3 server "+text)
		}
	}
	lacks(f.create, "has no conditional writes: two workers at the same clip are told apart by looking only")
	lacks(!f.create || f.complete, "completes uploads over an object that is there: the key is looked at before")
	lacks(f.replace != noMatch, "has no conditional changes: of two at the same receipt the later wins")
}

// trial is one run of tryFeatures, with the object that things are tried on.
type trial struct {
	a    *Archive // one whose requests are sent once: a repeated one can't tell its own success from another's
	key  string
	etag string
	f    features
}

// tryFeatures tries all features on an object of its own, and removes it. An error
// means that the server could not be asked.
func (a *Archive) tryFeatures(ctx context.Context) (features, error) {
	t := &trial{a: a, key: a.key(selfTestFolder, rand.Text())}
	defer func() { _ = a.delete(context.WithoutCancel(ctx), t.key) }() // what is left costs next to nothing
	if err := t.tryCreate(ctx); err != nil {
		return t.f, s3Fault(ctx, "writing a test object", err)
	}
	for _, try := range []func(context.Context) error{t.tryReplace, t.tryChecksum, t.tryClip, t.tryParts, t.tryRemove} {
		if err := try(ctx); err != nil {
			return t.f, s3Fault(ctx, "trying what S3 can do", err)
		}
	}
	return t.f, nil
}

// put writes new bytes over the object, under the conditions that change sets.
func (t *trial) put(ctx context.Context, change func(*s3.PutObjectInput)) error {
	body := []byte(rand.Text())
	in := &s3.PutObjectInput{Bucket: &t.a.opts.Bucket, Key: &t.key, ACL: t.a.documentACL()}
	if change != nil {
		change(in)
	}
	out, err := t.a.put(ctx, in, body, t.a.sumOf(body, crc32.ChecksumIEEE(body)))
	if err == nil {
		t.etag = strongETag(out.ETag)
	}
	return err
}

// refused reports whether S3 refused a request that it had to refuse. An error
// means that it did not get that far.
func refused(err error, refusal func(error) bool) (bool, error) {
	if err == nil || refusal(err) {
		return err != nil, nil
	}
	if isUnavailable(err) || failsAll(err) {
		return false, err
	}
	return false, nil // not implemented, in some words or other
}

// tryCreate writes the object where nothing is, which has to succeed, and once more,
// which has not.
func (t *trial) tryCreate(ctx context.Context) error {
	create := func() error { return t.put(ctx, func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }) }
	if err := create(); err != nil {
		if _, err := refused(err, isTaken); err != nil {
			return err
		}
		return t.put(ctx, nil)
	}
	var err error
	t.f.create, err = refused(create(), isTaken)
	return err
}

func (t *trial) tryReplace(ctx context.Context) error {
	for _, form := range []matchForm{quotedMatch, unquotedMatch} {
		matching := func(etag string) error {
			return t.put(ctx, func(in *s3.PutObjectInput) { in.IfMatch = form.ifMatch(etag) })
		}
		if form.ifMatch(t.etag) == nil {
			return nil // the server gives no tags
		}
		if err := matching(t.etag); err != nil {
			if _, err := refused(err, isTaken); err != nil {
				return err
			}
			continue
		}
		if kept, err := refused(matching("0123456789abcdef0123456789abcdef"), isTaken); err != nil || kept {
			if kept {
				t.f.replace = form
			}
			return err
		}
	}
	return nil
}

// otherBody is what wrong checksums are of.
var otherBody = []byte("not what is sent")

// tryChecksum sends a body with a wrong checksum.
func (t *trial) tryChecksum(ctx context.Context) (err error) {
	body := []byte(rand.Text())
	wrong := crc32.ChecksumIEEE(otherBody)
	in := &s3.PutObjectInput{Bucket: &t.a.opts.Bucket, Key: &t.key, ACL: t.a.documentACL()}
	out, err := t.a.put(ctx, in, body, t.a.sumOf(otherBody, wrong))
	if t.f.verifiesPut, err = refused(err, isClientError); err != nil || t.f.verifiesPut {
		return err
	}
	if out != nil {
		t.etag = strongETag(out.ETag)
	}
	st, _, err := t.a.head(ctx, t.key)
	t.f.echoes = st.hasCRC && st.crc == wrong
	return err
}

// clipLike are a clip's attributes. What a server refuses to write with them, it would
// refuse of every clip, after it was paid for: that fails the trial.
var clipLike = attributes{
	contentType: mp4.contentType, disposition: contentDisposition("clip-000-trial.mp4"),
	metadata: map[string]string{metaExport: "trial", metaSHA256: strings.Repeat("0", 64)},
}

// tryClip writes as small clips are written, over the object that is there: nothing
// comes of it that a lock would keep.
func (t *trial) tryClip(ctx context.Context) error {
	if !t.f.create {
		return nil
	}
	body := []byte(rand.Text())
	in := t.a.clipInput(t.key, clipLike)
	in.IfNoneMatch = aws.String("*")
	_, err := t.a.put(ctx, in, body, t.a.sumOf(body, crc32.ChecksumIEEE(body)))
	if isTaken(err) || isConflict(err) {
		return nil
	}
	return s3Fault(ctx, "writing as clips are written", err)
}

// tryParts sends a part with a wrong checksum and completes an upload over the
// object that is there.
func (t *trial) tryParts(ctx context.Context) error {
	a := t.a
	upload, err := a.createUpload(ctx, t.key, clipLike)
	if err != nil {
		return err
	}
	defer a.abortUpload(ctx, t.key, upload)
	body := []byte(rand.Text())
	crc := crc32.ChecksumIEEE(body)
	_, err = a.uploadPart(ctx, t.key, upload, 0, body, a.sumOf(otherBody, crc32.ChecksumIEEE(otherBody)), nil)
	if t.f.verifiesPart, err = refused(err, isClientError); err != nil {
		return err
	}
	etag, err := a.uploadPart(ctx, t.key, upload, 0, body, a.sumOf(body, crc), nil)
	if err != nil {
		return err
	}
	parts, v := []sentPart{{etag: etag, crc: crc}}, verdict{size: int64(len(body)), crc: crc}
	_, err = a.s3.CompleteMultipartUpload(ctx, a.completeInput(t.key, upload, parts, v, features{complete: true}))
	if errorCode(err) == "MalformedXML" {
		t.f.plainComplete = true
		_, err = a.s3.CompleteMultipartUpload(ctx, a.completeInput(t.key, upload, parts, v, features{complete: true, plainComplete: true}))
	}
	completed := err == nil
	t.f.complete, err = refused(err, isTaken)
	t.f.complete = t.f.complete && t.f.create // it may be refused where nothing is, too
	if completed && err == nil {              // it is another object by now
		st, _, herr := a.head(ctx, t.key)
		t.etag, err = st.etag, herr
	}
	return err
}

func (t *trial) tryRemove(ctx context.Context) error {
	form := max(t.f.replace, quotedMatch)
	removing := func(etag string) error {
		_, err := t.a.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.a.opts.Bucket, Key: &t.key, IfMatch: form.ifMatch(etag)})
		return err
	}
	kept := isTaken(removing("0123456789abcdef0123456789abcdef"))
	t.f.remove = kept && form.ifMatch(t.etag) != nil && removing(t.etag) == nil
	return nil // it is a matter of tidiness, and may be forbidden
}

// isClientError says that S3 blames the request.
func isClientError(err error) bool {
	s := httpStatus(err)
	return s == http.StatusBadRequest || errorCode(err) == "BadDigest" || errors.Is(err, errUploadGone)
}

package storage

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/fault"
)

// written says how an object came to be under its key: by our own request, with
// the entity tag that S3 returned, or earlier.
type written struct {
	etag     string
	found    bool
	verified bool // S3 verified a checksum of each body that it was sent
}

// mine says whether an object that S3 shows is the one of w: by its tag, or
// because it names the hash of v as its own. Another worker's may have come in
// between where S3 has no conditional writes.
func (s stat) mine(v verdict, w written) bool {
	if s.export != "" && s.sha256 == v.sha256 {
		return true
	}
	return !w.found && (s.etag == "" || s.etag == w.etag)
}

// confirm asks S3 for what was just written (or found taken) and accepts it
// only if size and checksum are those of the proof; where S3 keeps no checksum
// of the whole, the object is read again.
func (m *mirror) confirm(ctx context.Context, key string, v verdict, w written) (Result, error) {
	a := m.a
	st, exists, err := a.head(ctx, key)
	if err != nil {
		return Result{}, err
	}
	if !exists {
		return Result{}, fault.New(fault.Retry, key+" is not there right after it was archived", nil)
	}
	if w.found && !st.is(v) && !st.mine(v, w) {
		// somebody else's, or another rendering of ours: it was proven before it was completed
		return m.reuseObject(ctx, key, st, nil)
	}
	v.proofs = slices.Clone(v.proofs)
	if w.verified {
		v.proofs = append(v.proofs, ProofS3Parts)
	}
	wrong := st.size != v.size || (st.hasCRC && st.crc != v.crc)
	if !wrong && !st.hasCRC {
		_, sum, err := a.readBack(ctx, key, io.Discard)
		if err != nil {
			return Result{}, err
		}
		wrong = sum != v.sha256
		v.proofs = append(v.proofs, ProofReadBack)
	}
	switch {
	case wrong && !st.mine(v, w):
		return m.reuseObject(ctx, key, st, nil)
	case wrong:
		return Result{}, m.reject(ctx, key, st, v)
	}
	if st.hasCRC {
		v.proofs = append(v.proofs, ProofS3Object)
	}
	v.proofs = append(v.proofs, ProofHead)
	a.retain(ctx, key, st)
	obj := m.object(key, st, v)
	obj.Found = w.found
	return obj, nil
}

// is says whether an object that carries our mark has the bytes of v.
func (s stat) is(v verdict) bool {
	if s.export == "" || s.size != v.size || (s.hasCRC && s.crc != v.crc) {
		return false
	}
	return s.sha256 == v.sha256 || (s.hasCRC && s.sha256 == "")
}

// reject removes an object that S3 stored otherwise than it was sent, so that a
// wrong file does not stay under a final key. It is never another worker's: see
// mine, and the condition, where the server knows conditions.
func (m *mirror) reject(ctx context.Context, key string, st stat, v verdict) error {
	f := fault.New(fault.Retry, fmt.Sprintf("S3 stored %s wrong: %d bytes instead of %d, or other ones", key, st.size, v.size), nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := m.removeUnchanged(ctx, key, st); err != nil && !isMissing(err) && !isTaken(err) {
		f.Err = err
		return f.WithHint("it could not be removed: remove it, then retry the export")
	}
	return f
}

// removeUnchanged removes an object if it is still the one that S3 showed: under a
// condition, or after another look where the server has none.
func (m *mirror) removeUnchanged(ctx context.Context, key string, st stat) error {
	a := m.a
	in := &s3.DeleteObjectInput{Bucket: &a.opts.Bucket, Key: &key}
	if m.features.remove {
		in.IfMatch = max(m.features.replace, quotedMatch).ifMatch(st.etag)
	}
	if in.IfMatch == nil {
		if now, exists, err := a.head(ctx, key); err != nil || !exists || now.etag != st.etag || !now.modified.Equal(st.modified) {
			return err
		}
	}
	_, err := a.s3.DeleteObject(ctx, in)
	return err
}

func (m *mirror) object(key string, st stat, v verdict) Result {
	obj := Result{
		Object: export.Object{Key: key, Size: v.size, SHA256: v.sha256, ContentType: v.contentType, Proofs: v.proofs},
		ETag:   st.etag, Fetched: m.fetched, Resumed: m.resumed,
	}
	if v.contentType == "" {
		obj.ContentType = st.contentType
	}
	if st.hasCRC {
		obj.CRC32 = encodeCRC(st.crc)
	}
	obj.Refetched = max(0, m.read()-v.size)
	return obj
}

// Stat says what is under a key, as far as S3 knows without reading it; false when
// nothing is.
func (a *Archive) Stat(ctx context.Context, key string) (Result, bool, error) {
	st, exists, err := a.head(ctx, key)
	if err != nil || !exists {
		return Result{}, false, err
	}
	obj := Result{Object: export.Object{Key: key, Size: st.size, SHA256: st.sha256, ContentType: st.contentType}, ETag: st.etag}
	if st.hasCRC {
		obj.CRC32 = encodeCRC(st.crc)
	}
	if obj.SHA256 == "" {
		obj.SHA256 = a.taggedHash(ctx, key)
	}
	return obj, true, nil
}

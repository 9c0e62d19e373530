package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
)

// reuseObject accepts an object that is under the key, once it is known what it
// holds: by our record, by the hash that we left with it, or by reading it.
func (m *mirror) reuseObject(ctx context.Context, key string, st stat, rec *record) (Result, error) {
	v := verdict{size: st.size, crc: st.crc, sha256: st.sha256, contentType: st.contentType}
	switch {
	case st.export != m.job.Export:
		return m.compare(ctx, key, st)
	case v.sha256 != "" && st.hasCRC:
	case v.sha256 != "":
		// sent with the bytes, before S3 had stored them, and with nothing to hold them to
		return m.reread(ctx, key, st, v)
	case rec != nil && rec.SHA256 != "" && rec.Size == st.size && st.hasCRC && rec.Proof.CRC == st.crc:
		v.sha256, v.proofs = rec.SHA256, rec.Proofs
	default:
		if v.sha256 = m.a.taggedHash(ctx, key); v.sha256 == "" {
			// one of our own, whose hash is known no more
			var err error
			if v, err = m.proveStored(ctx, key, st); err != nil {
				return Result{}, err
			}
		}
	}
	if v.proofs == nil {
		v.proofs = []string{ProofEarlier}
	}
	return m.found(ctx, key, st, v), nil
}

// found is the Result of one that was there already.
func (m *mirror) found(ctx context.Context, key string, st stat, v verdict) Result {
	m.a.dropRecord(ctx, m.job.Key)
	m.a.retain(ctx, key, st) // whoever wrote it may have been killed before
	obj := m.object(key, st, v)
	obj.Found = true
	return obj
}

// reread proves that an object has the hash that it names as its own.
func (m *mirror) reread(ctx context.Context, key string, st stat, v verdict) (Result, error) {
	_, sum, err := m.a.readBack(ctx, key, io.Discard)
	if err != nil {
		return Result{}, err
	}
	if sum != v.sha256 {
		return Result{}, m.reject(ctx, key, st, v)
	}
	v.proofs = []string{ProofEarlier, ProofReadBack}
	return m.found(ctx, key, st, v), nil
}

// proveStored reads an object and proves it as a download would be.
func (m *mirror) proveStored(ctx context.Context, key string, st stat) (verdict, error) {
	p := newProof(m.job.Kind, link.Info{Size: st.size})
	_, _, err := m.a.readBack(ctx, key, proofWriter{p})
	if err != nil && !errors.Is(err, ErrContent) {
		return verdict{}, err
	}
	v, ferr := p.finish()
	err = errors.Join(err, ferr)
	if err == nil && st.hasCRC && st.crc != v.crc {
		err = contentFault("its checksum is wrong", nil)
	}
	if err != nil {
		return verdict{}, fault.New(fault.Terminal, "the object under "+key+" is not the clip", err).
			WithHint("remove it, then retry the export")
	}
	v.proofs = append(v.proofs, ProofReadBack)
	return v, nil
}

type proofWriter struct{ p *proof }

func (w proofWriter) Write(b []byte) (int, error) {
	if err := w.p.Write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// compare settles whether an object that is not marked as this export's is the
// clip: the link is read once more, and only the same bytes will do. Servers that
// forget metadata lead here, whoever writes into our folders, and a second export
// of one export task.
func (m *mirror) compare(ctx context.Context, key string, st stat) (Result, error) {
	v, err := m.proveStored(ctx, key, st)
	if err != nil {
		return Result{}, err
	}
	body, err := m.a.opts.Source.Open(ctx, m.job.Link, link.Range{From: 0, To: -1})
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = body.Close() }()
	src := newProof(m.job.Kind, body.Info)
	// not one of the buffers: our caller may hold the last of them
	if _, err := io.CopyBuffer(proofWriter{src}, body, make([]byte, 128<<10)); err != nil {
		return Result{}, err
	}
	want, err := src.finish()
	if err != nil {
		return Result{}, err
	}
	if want.sha256 != v.sha256 {
		f := fault.New(fault.Terminal, "another object than the clip is under "+key, nil)
		if st.export != "" {
			f.Message = fmt.Sprintf("the object under %s belongs to export %s and is another file", key, st.export)
		}
		return Result{}, f.WithHint("move it away, then retry the export")
	}
	want.proofs = append(want.proofs, ProofReadBack)
	return m.found(ctx, key, st, want), nil
}

package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// resume goes on with a transfer that an earlier process has begun. It returns
// errNotResumable, having changed nothing, when that makes no sense.
func (m *mirror) resume(ctx context.Context, rec *record) (Result, error) {
	m.key = cmp.Or(rec.Key, m.key)
	listed, err := m.a.listParts(ctx, m.key, rec.Upload)
	if errors.Is(err, errUploadGone) {
		return Result{}, fmt.Errorf("%w: S3 no longer knows its upload", errNotResumable)
	}
	if lacksListParts(err) {
		return Result{}, fmt.Errorf("%w: this server does not list the parts of its upload", errNotResumable)
	}
	if err != nil {
		return Result{}, err
	}
	t := &rangedTransfer{resumed: true, from: rec.Parts, crcs: rec.CRCs, upload: upload{
		m: m, id: rec.Upload, layout: layout{size: rec.Size, part: rec.Part}, listed: listed, sent: map[int]sentPart{},
	}}
	m.earlier = rec.Fetched
	switch {
	case int(rec.Part) > m.a.buffers.size:
		return Result{}, fmt.Errorf("%w: its parts are larger than the buffers", errNotResumable)
	case rec.Checksum != m.a.opts.Checksum:
		// S3 would refuse to complete parts of two kinds
		return Result{}, fmt.Errorf("%w: it was begun with the checksum mode %s", errNotResumable, rec.Checksum)
	}
	if t.proof, err = resumeProof(rec.Proof, rec.Size); err != nil {
		return Result{}, fmt.Errorf("%w: %w", errNotResumable, err)
	}
	t.accept(rec)
	if err := t.reopen(ctx, rec); err != nil {
		return Result{}, err
	}
	if t.first != nil {
		defer func(r *response) { _ = r.Close() }(t.first)
	}
	m.log.InfoContext(ctx, "transfer resumed", logkey.Parts, t.layout.count(), logkey.Kept, rec.Parts-len(t.refill))
	return t.carry(ctx, *rec)
}

// accept takes over the parts that S3 lists as they were sent.
func (t *rangedTransfer) accept(rec *record) {
	for n := range rec.Parts {
		_, length := t.layout.span(n)
		p, ok := t.listed[n]
		if !ok || !p.is(length, rec.CRCs[n], rec.Tags[n]) {
			t.refill = append(t.refill, n)
			continue
		}
		t.sent[n] = sentPart{etag: p.etag, crc: rec.CRCs[n]}
		t.m.resumed += length
		t.m.addStored(length, rec.Size)
	}
}

// reopen asks the link for the rest of the very file that the record is of.
func (t *rangedTransfer) reopen(ctx context.Context, rec *record) error {
	t.info = link.Info{Size: rec.Size, Ranges: true, ETag: rec.Validator}
	if rec.Parts == t.layout.count() {
		return nil // only to be completed; what S3 lost opens the link for itself
	}
	offset, _ := t.layout.span(rec.Parts)
	body, err := t.m.a.opts.Source.Open(ctx, t.m.job.Link, link.Range{From: offset, To: -1, IfRange: rec.Validator})
	switch {
	case errors.Is(err, link.ErrChanged):
		return fmt.Errorf("%w: %w", errNotResumable, err)
	case err != nil:
		return err
	}
	if err := (&partSource{m: t.m, info: t.info}).same(body, offset); err != nil {
		_ = body.Close()
		return fmt.Errorf("%w: %w", errNotResumable, err)
	}
	t.first = newResponse(body)
	return nil
}

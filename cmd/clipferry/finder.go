package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/admin"
	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/internal/view"
	"github.com/clipferry/clipferry/tasks"
)

// finder finds exports wherever they are known: in Redis, in a queue, or in S3,
// where the bucket is configured.
type finder struct {
	c         *console
	conn      *connection
	forgotten map[string]*export.Record // what only S3 knows, asked for once; nil for what it does not
}

func newFinder(c *console, conn *connection) *finder {
	return &finder{c: c, conn: conn, forgotten: map[string]*export.Record{}}
}

// whyUnknown says of an export that Redis does not know what S3 knows of it.
func (f *finder) whyUnknown(ctx context.Context, id string) string {
	if !tasks.ValidID(id) {
		return "unknown: " + newUnknown(id).Error
	}
	switch r, err := f.inS3(ctx, id); {
	case err != nil:
		return "unknown: " + newUnknown(id).Error
	case r.State == export.Archived:
		return "it is archived in S3, and Redis has forgotten it: there is nothing to change"
	default:
		return view.Sentence(r, view.CLI)
	}
}

// all loads the exports; an id that nobody knows is missing from the result. Its error
// says why one can't be looked for; the others are there nevertheless.
func (f *finder) all(ctx context.Context, ids []string) (map[string]*export.Record, error) {
	records := make(map[string]*export.Record, len(ids))
	var failed, s3 error
	for _, id := range ids {
		r, err := f.conn.exports.Get(ctx, id)
		if errors.Is(err, admin.ErrUnknown) && tasks.ValidID(id) {
			r, err = f.conn.exports.Search(ctx, id)
		}
		switch {
		case errors.Is(err, admin.ErrUnknown) && s3 != nil:
			err = s3 // asked once more, it would take as long to fail
		case errors.Is(err, admin.ErrUnknown):
			if r, err = f.inS3(ctx, id); err != nil && !errors.Is(err, admin.ErrUnknown) {
				s3 = err
			}
		}
		switch {
		case errors.Is(err, admin.ErrUnknown):
		case ctx.Err() != nil:
			return records, err
		case err != nil:
			failed = cmp.Or(failed, err)
		default:
			records[id] = r
		}
	}
	return records, failed
}

// inS3 reads an export that Redis does not know from its receipt and manifest.
func (f *finder) inS3(ctx context.Context, id string) (*export.Record, error) {
	if r, asked := f.forgotten[id]; asked && r != nil {
		return r, nil
	} else if asked || f.conn.cfg.S3Bucket == "" {
		return nil, admin.ErrUnknown
	}
	if err := f.conn.openArchive(ctx, nil); err != nil {
		return nil, err
	}
	fallback := admin.ReceiptFallback{Service: f.conn.exports, Receipts: f.conn.archive, Logger: slog.New(slog.DiscardHandler)}
	r, err := fallback.Get(ctx, id)
	if err == nil || errors.Is(err, admin.ErrUnknown) {
		f.forgotten[id] = r
	}
	return r, err
}

// linkTTL is how long a printed link can be used.
const linkTTL = time.Hour

// links prints a link to each archived clip of the exports.
func (f *finder) links(ctx context.Context, ids []string) error {
	if f.conn.cfg.S3Bucket == "" {
		return config.Faults{{Variable: "CLIPFERRY_S3_BUCKET", Message: "required"}}
	}
	records, err := f.all(ctx, ids)
	if err != nil {
		return err
	}
	if err := f.conn.openArchive(ctx, nil); err != nil {
		return err
	}
	for _, id := range ids {
		if records[id] == nil {
			continue
		}
		for _, clip := range view.Of(records[id], view.CLI).Clips {
			if clip.Key == "" {
				continue
			}
			link, err := f.conn.archive.Presign(ctx, clip.Key, "", linkTTL) // under the name that it was stored with
			if err != nil {
				return err
			}
			if err := f.c.out.Printf("%s %d %s\n", id, clip.Idx, link); err != nil {
				return err
			}
		}
	}
	return anyUnknown(f.c, ids, records, false)
}

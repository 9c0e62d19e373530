package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/clipferry/clipferry/cmd/internal/wiring"
	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/ledger"
	"github.com/clipferry/clipferry/storage"
)

func verifyCommand() command {
	return command{
		name: "verify", args: "[--json] [--all | ID…]", summary: "read archived files from S3 again and prove them against their manifests",
		details: `Works from the receipts and manifests in S3 alone, whatever Redis still knows.
Every file is read in full. It fails if one is missing or has changed.`,
		flags: func(set *pflag.FlagSet) action {
			v := &verify{}
			set.BoolVar(&v.all, "all", false, "verify everything that was ever archived")
			set.BoolVar(&v.json, "json", false, "print one JSON object for each export")
			return v.run
		},
	}
}

type verify struct{ all, json bool }

func (v *verify) run(ctx context.Context, c *console, ids []string) error {
	if v.all == (len(ids) > 0) {
		return usagef("give ids, or --all")
	}
	archive, closeAll, err := c.archive(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	if v.all {
		return v.everything(ctx, c, archive)
	}
	var failed error
	for _, id := range ids {
		receipt, ok, err := archive.Receipt(ctx, id)
		switch {
		case err != nil:
			return err
		case !ok:
			failed = errReported
			fmt.Fprintf(c.stderr, "%s: there is no receipt of it in S3: it was never accepted by the provider\n", printable(id))
		default:
			failed = either(v.one(ctx, c, archive, receipt), failed)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return failed
}

// archive opens the archive without asking Redis for anything.
func (c *console) archive(ctx context.Context) (*storage.Archive, func(), error) {
	cfg, err := config.Load(c.env, config.NeedsS3)
	if err != nil {
		return nil, nil, err
	}
	rdb := cfg.Redis.NewClient()
	archive, links, err := wiring.Archive(ctx, cfg, ledger.New(ledger.Options{Redis: rdb}), c.logger(cfg))
	if err != nil {
		_ = rdb.Close()
		return nil, nil, err
	}
	return archive, func() { links.Close(); _ = rdb.Close() }, nil
}

func (v *verify) everything(ctx context.Context, c *console, archive *storage.Archive) error {
	var failed error
	for receipt, err := range archive.Receipts(ctx) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = errReported
			fmt.Fprintf(c.stderr, "%v\n", err)
		case receipt.State == storage.ReceiptDone:
			failed = either(v.one(ctx, c, archive, receipt), failed)
		}
	}
	return failed
}

func either(err, before error) error {
	if err != nil {
		return err
	}
	return before
}

// one verifies one export and shows what was found.
func (v *verify) one(ctx context.Context, c *console, archive *storage.Archive, receipt storage.Receipt) error {
	key := receipt.Manifest
	if key == "" {
		key = archive.ManifestKey(receipt.ProjectID, receipt.ExportTaskID)
	}
	report, err := archive.Verify(ctx, key, nil)
	if err != nil {
		fmt.Fprintf(c.stderr, "%s: %v\n", printable(receipt.ID), err)
		return errReported
	}
	if v.json {
		return v.printJSON(c, report)
	}
	bytes := int64(0)
	for _, f := range report.Files {
		bytes += f.Size
		if f.Problem != "" {
			fmt.Fprintf(c.stdout, "%s BAD %s: %s\n", receipt.ID, f.Key, f.Problem)
		}
	}
	if !report.OK() {
		return errReported
	}
	_, err = fmt.Fprintf(c.stdout, "%s ok: %d files, %s\n", receipt.ID, len(report.Files), size(bytes))
	return err
}

func (v *verify) printJSON(c *console, report storage.Report) error {
	if err := json.NewEncoder(c.stdout).Encode(report); err != nil {
		return err
	}
	if !report.OK() {
		return errReported
	}
	return nil
}

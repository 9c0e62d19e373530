package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/verification"
	"github.com/clipferry/clipferry/storage"
)

func verifyCommand(c *console) *cobra.Command {
	v := &verify{}
	cmd := &cobra.Command{
		Use: "verify [--json] [--all | --part N/OF | ID…]", Short: "read archived files from S3 again and prove them against their manifests",
		Long: `Works from the receipts and manifests in S3 alone, whatever Redis still
knows. Every file is read in full. It fails if one is missing or has changed,
and with --all if there is nothing to verify. With --part 3/30 it is the
third of thirty shares of the archive; all thirty are all of it. The proof is
kept in S3, beside those of the workers (CLIPFERRY_VERIFY_EVERY).`,
		RunE: func(cmd *cobra.Command, ids []string) error { return v.run(cmd.Context(), c, ids) },
	}
	cmd.Flags().BoolVar(&v.all, "all", false, "verify everything that was ever archived")
	cmd.Flags().StringVar(&v.part, "part", "", "verify part `N/OF` of the archive, such as 3/30")
	cmd.Flags().BoolVar(&v.json, "json", false, "print one JSON object for each export")
	return cmd
}

type verify struct {
	all, json bool
	part      string
}

func (v *verify) run(ctx context.Context, c *console, ids []string) error {
	if (len(ids) > 0) == (v.all || v.part != "") || v.all && v.part != "" {
		return cli.Usagef("give ids, or --all, or --part")
	}
	var part verification.Part
	if v.part != "" {
		var err error
		if part, err = verification.ParsePart(v.part); err != nil {
			return cli.Usagef("--part: %v", err)
		}
	}
	conn, err := c.archiveAlone(ctx)
	if err != nil {
		return err
	}
	defer conn.close()
	archive := conn.archive
	switch {
	case v.all:
		return v.everything(ctx, c, archive)
	case v.part != "":
		return v.share(ctx, c, archive, part)
	}
	var failed error
	for _, id := range ids {
		receipt, ok, err := archive.Receipt(ctx, id)
		switch {
		case err != nil:
			return err
		case !ok:
			failed = errReported
			_ = c.msg.Printf("%s: there is no receipt of it in S3: it was never accepted by the provider\n", cmp.Or(id, `""`))
		default:
			failed = cmp.Or(v.one(ctx, c, archive, receipt), failed)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return failed
}

func (v *verify) everything(ctx context.Context, c *console, archive *storage.Archive) error {
	var failed error
	good, bad, open := 0, 0, 0
	for receipt, err := range archive.Receipts(ctx, time.Time{}) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = errReported
			_ = c.msg.Printf("%s\n", err)
		case len(receipt.Passed) > 0: // no export's
		case receipt.Closed == nil:
			open++
		case receipt.State == storage.ReceiptDone:
			switch err := v.one(ctx, c, archive, receipt); {
			case errors.Is(err, errReported):
				failed = err
				bad++
			case err != nil:
				return err
			default:
				good++
			}
		}
	}
	_ = c.msg.Printf("%d archived exports are good, %d are not; %d are open, so that there is nothing to verify yet\n", good, bad, open)
	if good+bad == 0 { // an archive that can't be found is no good archive
		failed = errReported
	}
	return failed
}

// share verifies a part of the archive.
func (v *verify) share(ctx context.Context, c *console, archive *storage.Archive, part verification.Part) error {
	var printed error
	proof, err := verification.New(archive).Verify(ctx, part, func(r storage.Report) {
		if err := v.print(c, r.ID, r); printed == nil && !errors.Is(err, errReported) {
			printed = err
		}
	})
	if err = cmp.Or(err, printed); err != nil {
		return err
	}
	_ = c.msg.Printf("part %s: %d exports with %d files and %s; %d files are bad\n", part, proof.Exports, proof.Files, size(proof.Bytes), len(proof.Bad))
	if len(proof.Bad) > 0 {
		return errReported
	}
	return nil
}

// one verifies one export and shows what was found.
func (v *verify) one(ctx context.Context, c *console, archive *storage.Archive, receipt storage.Receipt) error {
	report, err := archive.Verify(ctx, cmp.Or(receipt.Manifest, archive.ManifestKey(receipt.ProjectID, receipt.ExportTaskID)))
	if err != nil {
		_ = c.msg.Printf("%s: %s\n", receipt.ID, err)
		return errReported
	}
	return v.print(c, receipt.ID, report)
}

// print shows a report; errReported if it is a bad one.
func (v *verify) print(c *console, id string, report storage.Report) (err error) {
	switch {
	case v.json:
		err = c.out.JSON(report)
	case report.OK():
		bytes := int64(0)
		for _, f := range report.Files {
			bytes += f.Size
		}
		err = c.out.Printf("%s ok: %d files, %s\n", cmp.Or(id, report.Manifest), len(report.Files), size(bytes))
	default:
		for _, f := range report.Files {
			if f.Problem != "" {
				_ = c.out.Printf("%s BAD %s: %s\n", cmp.Or(id, report.Manifest), f.Key, f.Problem)
			}
		}
	}
	if err == nil && !report.OK() {
		err = errReported
	}
	return err
}

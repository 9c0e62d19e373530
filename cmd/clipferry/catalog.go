package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/internal/catalog"
)

func catalogCommand(c *console) *cobra.Command {
	rebuild := false
	cmd := &cobra.Command{
		Use: "catalog [--rebuild]", Short: "bring the catalog of archived clips in S3 up to date",
		Long: `Adds the exports whose manifests are in S3 and that the catalog does not
have: those of releases without a catalog, or of another bucket that was
copied here. Workers do the rest by themselves. With --rebuild it is made
anew from all manifests: exports whose manifest is gone go, and damaged files
are replaced. Safe at any time, beside running workers; Redis is not needed.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.catalog(cmd.Context(), rebuild) },
	}
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "make it anew from all manifests")
	return cmd
}

func (c *console) catalog(ctx context.Context, rebuild bool) error {
	conn, err := c.archiveAlone(ctx)
	if err != nil {
		return err
	}
	defer conn.close()
	store := catalog.NewStore(conn.archive)
	if rebuild {
		done, err := store.Rebuild(ctx)
		_ = c.out.Printf("the catalog has %d exports with %d clips\n", done.Manifests, done.Clips)
		return err
	}
	done, err := store.Update(ctx)
	_ = c.out.Printf("added %d exports with %d clips; %d are in the catalog already\n", done.Manifests, done.Clips, done.Known)
	return err
}

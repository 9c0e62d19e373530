package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/clipferry/clipferry/cmd/internal/cli"
)

func manCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "write the manual pages of all commands into a directory",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return cli.Usagef("give one directory")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			header := &doc.GenManHeader{Section: "1", Source: "clipferry " + cli.Version(version), Manual: "clipferry"}
			cmd.Root().DisableAutoGenTag = true
			if err := doc.GenManTree(cmd.Root(), header, dir); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			return c.out.Printf("%s\n", dir)
		},
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/clipferry/clipferry/cmd/internal/cli"
	"github.com/clipferry/clipferry/config"
)

func healthCommand(c *console) *cobra.Command {
	path := "/healthz"
	cmd := &cobra.Command{
		Use: "health [--ready]", Short: "ask the worker or server on this machine whether it is alive",
		Long: "For container health checks, where there is no shell and no curl.",
		Args: cli.NoArgs,
	}
	ready := cmd.Flags().Bool("ready", false, "ask whether it is ready, not only alive")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *ready {
			path = "/readyz"
		}
		return c.health(cmd.Context(), path)
	}
	return cmd
}

// healthTimeout is under the interval of usual health checks.
const healthTimeout = 4 * time.Second

func (c *console) health(ctx context.Context, path string) error {
	cfg, err := config.Load(c.env, 0)
	if err != nil {
		return err
	}
	if cfg.HTTPAddr == "" {
		return config.Faults{{Variable: "CLIPFERRY_HTTP_ADDR", Message: "empty: there is no server to ask"}}
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(cfg.HTTPAddr)+path, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: nil}} // this machine, whatever HTTP_PROXY says
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return c.out.Printf("ok\n")
}

// reachable is where a server that listens on addr can be asked.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

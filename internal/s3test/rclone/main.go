// Command rclone is rclone with the few parts that the tests need: its S3
// server over a local directory, and the copies that the benchmark compares
// with. A module of its own, so that nothing else depends on rclone.
package main

import (
	_ "github.com/rclone/rclone/backend/http"
	_ "github.com/rclone/rclone/backend/local"
	_ "github.com/rclone/rclone/backend/s3"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/copy"
	_ "github.com/rclone/rclone/cmd/copyurl"
	_ "github.com/rclone/rclone/cmd/serve/s3"
)

func main() { cmd.Main() }

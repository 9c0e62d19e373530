package httpapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clipferry/clipferry/internal/link"
	"github.com/clipferry/clipferry/internal/s3test"
	"github.com/clipferry/clipferry/storage"
)

// TestLinksLeadToFilesInS3 follows links to a real S3 server, which checks what
// it is that was signed.
func TestLinksLeadToFilesInS3(t *testing.T) {
	const key, video = "exports/p/t/clip-000-älter-100.mp4", "all of the video"
	server := s3test.Start(t)
	if _, err := server.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(s3test.Bucket), Key: aws.String(key), Body: strings.NewReader(video), ContentType: aws.String("video/mp4"),
	}); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	source, err := link.New(link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	f.api.o.Archive, err = storage.New(storage.Options{
		Client: server.Client(), Bucket: s3test.Bucket, Prefix: "exports", Source: source,
		Checkpoints: f.ledger.Checkpoints(), Logger: f.api.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method string, headers ...string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, f.URL+f.api.links.path(key), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		client := http.Client{Timeout: 30 * time.Second}
		defer client.CloseIdleConnections()
		resp, err := client.Do(req) // follows the redirect with the same method
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if resp, body := ask("GET"); resp.StatusCode != 200 || body != video {
		t.Errorf("GET: %s %s", resp.Status, body)
	}
	if resp, body := ask("GET", "Range", "bytes=4-5"); resp.StatusCode != 206 || body != video[4:6] {
		t.Errorf("GET of a range: %s %s", resp.Status, body)
	}
	resp, body := ask("HEAD")
	if resp.StatusCode != 200 || body != "" || resp.ContentLength != int64(len(video)) || resp.Header.Get("Content-Type") != "video/mp4" {
		t.Errorf("HEAD: %s %d %v", resp.Status, resp.ContentLength, resp.Header)
	}
}

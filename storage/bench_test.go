package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clipferry/clipferry/internal/s3test"
)

// BenchmarkTransfer measures, side by side and each in a process of its own, how
// files get from an HTTP source into a real S3 server, all on this machine:
//
//	go test -run '^$' -bench 'Transfer$' -benchtime 1x -timeout 30m ./storage/
//
// It prints one table for each workload; docs/performance.md keeps them.
// Wall is the median of interleaved runs: three, or nine where ways are close.
func BenchmarkTransfer(b *testing.B) {
	for _, c := range []struct {
		name string
		w    workload
		ways []string
	}{
		{"large", workload{name: "one file of 1 GiB", files: 1, size: 1 << 30, at: 1}, []string{"raw-put", "passed", "ours", "transfermanager", "rclone-copyurl"}},
		{"small", workload{name: "200 files of 5 MB, 8 at once", files: 200, size: 5_000_000, at: 8, runs: 9}, []string{"raw-put", "ours", "transfermanager", "rclone-copy"}},
		{"eight", workload{name: "8 files of 256 MiB at once", files: 8, size: 256 << 20, at: 8}, []string{"raw-put", "ours"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				benchWorkload(b, c.w, c.ways)
			}
		})
	}
}

// BenchmarkTransferHuge is one file of 20 GiB: memory must be that of 1 GiB. The
// S3 server is one that throws the parts away, or it would need 40 GiB of disk.
func BenchmarkTransferHuge(b *testing.B) {
	sink := httptest.NewServer(&sinkS3{})
	defer sink.Close()
	for range b.N {
		w := workload{name: "one file of 20 GiB", files: 1, size: 20 << 30, at: 1}
		src := httptest.NewServer(&virtualOrigin{files: w.files, size: w.size})
		m := benchRun(b, &s3test.Server{Endpoint: sink.URL}, src.URL, w, "ours")
		src.Close()
		printTable(w, []string{"ours"}, map[string][]measure{"ours": {m}})
	}
}

// BenchmarkTransferKilled kills a worker after 153 of 171 parts of 1 GiB and
// goes on in another process.
func BenchmarkTransferKilled(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "clipferry-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	srv := s3test.StartIn(b, dir)
	for range b.N {
		spec := mirrorSpec{Key: "0.mp4", Checkpoints: b.TempDir(), PartSize: DefaultPartSize}
		killMidway(b, srv, &spec, &virtualOrigin{files: 1, size: 1 << 30}, 153)
		a, err := spec.archive(srv.Client())
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		obj, err := a.Mirror(b.Context(), Job{Export: "e", Key: spec.Key, Link: spec.Link})
		if err != nil {
			b.Fatal(err)
		}
		fmt.Printf("\nkilled after 153 of 171 parts: %d parts were left in S3, %.1f %% of 1 GiB fetched by the second process, in %.2f s\n",
			obj.Resumed/DefaultPartSize, 100*float64(obj.Fetched)/float64(obj.Size), time.Since(start).Seconds())
	}
}

// BenchmarkTransferSlowSource is a source of 20 MB/s a connection.
func BenchmarkTransferSlowSource(b *testing.B) {
	for range b.N {
		benchWorkload(b, workload{name: "256 MiB, 20 MB/s a connection", files: 1, size: 256 << 20, at: 1, rate: 20_000_000, once: true},
			[]string{"passed", "ours"})
	}
}

const benchRuns = 3

type workload struct {
	name  string
	files int
	size  int64
	at    int   // at once
	rate  int64 // bytes a second and connection, 0 for no limit
	once  bool  // one run, objects on disk
	runs  int   // 0 for benchRuns
}

// benchJob is what a measured process is told.
type benchJob struct {
	Way      string
	Endpoint string
	Links    []string
	Keys     []string
	Size     int64
	At       int
}

type measure struct {
	wall time.Duration
	cpu  time.Duration
	peak int64 // KiB
}

func benchWorkload(b *testing.B, w workload, ways []string) {
	dir := "/dev/shm"
	if w.once {
		dir = b.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "clipferry-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	b.Setenv("VGW_KEEP_ALIVE", "true") // as S3 does; versitygw by default closes after each request
	srv := s3test.StartIn(b, dir)
	src := httptest.NewServer(&virtualOrigin{files: w.files, size: w.size, rate: w.rate})
	defer src.Close()
	results := map[string][]measure{}
	runs := cmp.Or(w.runs, benchRuns)
	if w.once {
		runs = 1
	}
	for range runs {
		for _, way := range ways {
			m := benchRun(b, srv, src.URL, w, way)
			results[way] = append(results[way], m)
			emptyBucket(b, srv)
		}
	}
	printTable(w, ways, results)
}

func emptyBucket(b *testing.B, srv *s3test.Server) {
	b.Helper()
	entries, err := os.ReadDir(filepath.Join(srv.Dir, s3test.Bucket))
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(srv.Dir, s3test.Bucket, e.Name())); err != nil {
			b.Fatal(err)
		}
	}
}

func benchRun(b *testing.B, srv *s3test.Server, src string, w workload, way string) measure {
	b.Helper()
	cmd := benchCommand(b, srv, src, w, way)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	peak := make(chan int64)
	go func() { peak <- watchPeak(cmd.Process.Pid, done) }()
	err := cmd.Wait()
	m := measure{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	close(done)
	if m.peak = <-peak; err != nil {
		b.Fatalf("%s: %v\n%s", way, err, out.String())
	}
	return m
}

// sinkS3 is as much of S3 as one multipart upload needs, and keeps nothing.
type sinkS3 struct {
	mu        sync.Mutex
	size, crc string // of the completed object
}

func (s *sinkS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	size, crc := s.size, s.crc
	s.mu.Unlock()
	switch kindOf(r) {
	case "head":
		if size == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", size)
		w.Header().Set("X-Amz-Checksum-Crc32", crc)
	case "create":
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case "part":
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"e"`)
	case "complete":
		s.mu.Lock()
		s.size, s.crc = r.Header.Get("X-Amz-Mp-Object-Size"), r.Header.Get("X-Amz-Checksum-Crc32")
		s.mu.Unlock()
		_, _ = io.WriteString(w, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
	}
}

// watchPeak follows VmHWM: the rusage of a child may still hold its parent's peak.
func watchPeak(pid int, done <-chan struct{}) (peak int64) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return peak
		case <-tick.C:
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		if _, after, ok := strings.Cut(string(b), "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
			peak = max(peak, n)
		}
	}
}

func benchCommand(b *testing.B, srv *s3test.Server, src string, w workload, way string) *exec.Cmd {
	b.Helper()
	s3Flags := []string{
		"--config", os.DevNull, "--s3-provider", "Other", "--s3-endpoint", srv.Endpoint, "--s3-region", "us-east-1",
		"--s3-access-key-id", s3test.AccessKey, "--s3-secret-access-key", s3test.SecretKey, "--s3-no-check-bucket",
	}
	switch way {
	case "rclone-copyurl":
		return exec.Command(s3test.Rclone(b), append(s3Flags, "copyurl", src+"/0.mp4", ":s3:"+s3test.Bucket+"/0.mp4")...)
	case "rclone-copy":
		return exec.Command(s3test.Rclone(b), append(s3Flags, "copy", "--transfers", strconv.Itoa(w.at),
			"--http-url", src, ":http:", ":s3:"+s3test.Bucket)...)
	}
	job := benchJob{Way: way, Endpoint: srv.Endpoint, Size: w.size, At: w.at}
	for i := range w.files {
		job.Links = append(job.Links, fmt.Sprintf("%s/%d.mp4", src, i))
		job.Keys = append(job.Keys, fmt.Sprintf("%d.mp4", i))
	}
	spec, err := json.Marshal(job)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(srv.Env(), childEnv+"=bench", "CLIPFERRY_BENCH_JOB="+string(spec))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

func printTable(w workload, ways []string, results map[string][]measure) {
	fmt.Printf("\n%s\n| way | wall s | x %s | CPU s | peak MiB |\n|---|---|---|---|---|\n", w.name, ways[0])
	median := func(way string) measure {
		ms := slices.Clone(results[way])
		slices.SortFunc(ms, func(a, b measure) int { return int(a.wall - b.wall) })
		m := ms[len(ms)/2]
		for _, o := range ms {
			m.peak = max(m.peak, o.peak)
		}
		return m
	}
	base := median(ways[0])
	for _, way := range ways {
		m := median(way)
		fmt.Printf("| %s | %.2f | %.2f | %.2f | %d |\n", way, m.wall.Seconds(),
			m.wall.Seconds()/base.wall.Seconds(), m.cpu.Seconds(), m.peak>>10)
	}
}

// virtualOrigin serves files that are made as they are read: valid MP4, any size.
type virtualOrigin struct {
	files int
	size  int64
	rate  int64
}

func (o *virtualOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" { // what rclone lists
		w.Header().Set("Content-Type", "text/html")
		for i := range o.files {
			_, _ = fmt.Fprintf(w, "<a href=\"%d.mp4\">%d.mp4</a>\n", i, i)
		}
		return
	}
	w.Header().Set("ETag", `"`+r.URL.Path+`"`)
	w.Header().Set("Content-Type", "video/mp4")
	if o.rate > 0 {
		w = &slowWriter{ResponseWriter: w, rate: o.rate, start: time.Now()}
	}
	http.ServeContent(w, r, "", time.Unix(1e9, 0), newVirtualClip(o.size))
}

// slowWriter is a connection with a limited rate.
type slowWriter struct {
	http.ResponseWriter
	rate  int64
	start time.Time
	sent  int64
}

func (s *slowWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var m int
		m, err = s.ResponseWriter.Write(b[:min(len(b), 64<<10)])
		b, n, s.sent = b[m:], n+m, s.sent+int64(m)
		due := s.start.Add(time.Duration(float64(s.sent) / float64(s.rate) * 1e9))
		time.Sleep(time.Until(due))
	}
	return n, err
}

// virtualClip is an io.ReadSeeker over ftyp, moov and one mdat of noise.
type virtualClip struct {
	head []byte
	size int64
	off  int64
}

func newVirtualClip(size int64) *virtualClip {
	head := append(box("ftyp", []byte("isom\x00\x00\x02\x00isomiso2")), box("moov", box("mvhd", nil))...)
	head = append(head, 0, 0, 0, 1, 'm', 'd', 'a', 't')
	left := size - int64(len(head)) + 8
	for shift := 56; shift >= 0; shift -= 8 {
		head = append(head, byte(left>>shift))
	}
	return &virtualClip{head: head, size: size}
}

func (v *virtualClip) Read(p []byte) (int, error) {
	if v.off >= v.size {
		return 0, io.EOF
	}
	var src []byte
	if v.off < int64(len(v.head)) {
		src = v.head[v.off:]
	} else {
		src = noise[v.off%int64(len(noise)):]
	}
	n := copy(p[:min(int64(len(p)), v.size-v.off)], src)
	v.off += int64(n)
	return n, nil
}

func (v *virtualClip) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		v.off = offset
	case io.SeekCurrent:
		v.off += offset
	case io.SeekEnd:
		v.off = v.size + offset
	}
	return v.off, nil
}

// benchChild is a measured process: one way, all files.
func benchChild() error {
	var job benchJob
	if err := json.Unmarshal([]byte(os.Getenv("CLIPFERRY_BENCH_JOB")), &job); err != nil {
		return err
	}
	ctx := context.Background()
	client, err := NewClient(ctx, ClientOptions{PathStyle: true})
	if err != nil {
		return err
	}
	carry, ok := benchWays[job.Way]
	if !ok {
		return fmt.Errorf("no way %q", job.Way)
	}
	return carry(ctx, client, job)
}

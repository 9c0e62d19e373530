package tasks

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clipferry/clipferry/internal/redistest"
)

func ping(t *testing.T, address string) error {
	t.Helper()
	r, err := ParseRedis(address)
	if err != nil {
		return err
	}
	c := r.NewClient()
	defer c.Close()
	return c.Set(t.Context(), "x", 1, 0).Err()
}

// TestEveryFormOfAddressReachesARealRedis: TLS with certificates of an authority
// that only the address names, on both sides, and a socket.
func TestEveryFormOfAddressReachesARealRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a real Redis")
	}
	t.Parallel()
	certs := redistest.NewCertificates(t)
	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := redistest.Start(t, redistest.TLS(t, certs), redistest.Config("unixsocket", socket))
	cluster := redistest.StartCluster(t, 1, redistest.TLS(t, certs), redistest.Config("tls-cluster", "yes"), redistest.Config("cluster-announce-ip", "127.0.0.1"))
	sentinel := redistest.StartTLSSentinel(t, server, certs)
	for _, address := range []string{
		"rediss://" + server.TLSAddr() + "/0?" + certs.Query(),
		"rediss://localhost:" + port(server.TLSAddr()) + "/0?tls_server_name=127.0.0.1&" + certs.Query(),
		"rediss-cluster://" + cluster.Nodes[0].TLSAddr() + "?" + certs.Query(),
		"rediss-sentinel://" + sentinel + "/0?master_name=" + redistest.MasterName + "&" + certs.Query(),
		"unix://" + socket + "?db=3",
	} {
		if err := ping(t, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for address, want := range map[string]string{
		"rediss://" + server.TLSAddr(): "signed by unknown authority",
		"rediss://" + server.TLSAddr() + "/?max_retries=-1&tls_ca_file=" + certs.CAFile: "certificate required",
		"unix://" + socket + ".gone?max_retries=-1":                                     "no such file",
	} {
		if err := ping(t, address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// A certificate that was renewed in its file is shown to the next connection.
func TestClientCertificatesAreReadAnew(t *testing.T) {
	old, renewed := redistest.NewCertificates(t), redistest.NewCertificates(t)
	r, err := ParseRedis("rediss://h?tls_cert_file=" + old.CertFile + "&tls_key_file=" + old.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	show := func() string {
		c, err := r.simple.TLSConfig.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(c.Certificate)
	}
	before := show()
	for from, to := range map[string]string{renewed.CertFile: old.CertFile, renewed.KeyFile: old.KeyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if show() == before {
		t.Error("the old certificate is shown still")
	}
}

func TestTLSOfAnAddressIsChecked(t *testing.T) {
	certs := redistest.NewCertificates(t)
	for address, want := range map[string]string{
		"redis://h?tls_ca_file=" + certs.CAFile:                                        "tls_… is for rediss://",
		"rediss://h?tls_ca_file=":                                                      "tls_ca_file is empty",
		"rediss://h?tls_ca_file=/nowhere":                                              "tls_ca_file: open /nowhere: no such file",
		"rediss://h?tls_ca_file=" + certs.KeyFile:                                      "holds no certificate",
		"rediss://h?tls_cert_file=" + certs.CertFile:                                   "go together",
		"rediss://h?tls_cert_file=" + certs.CertFile + "&tls_key_file=" + certs.CAFile: "tls_cert_file and tls_key_file: ",
		"unix://redis.sock":                                                            "begins with /",
		"unix://":                                                                      "begins with /",
	} {
		if _, err := ParseRedis(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	r, err := ParseRedis("unix://u:hunter2@/run/redis.sock?db=2")
	if err != nil || r.String() != "unix:///run/redis.sock" || r.simple.Addr != "/run/redis.sock" || r.simple.Password != "hunter2" || r.simple.DB != 2 {
		t.Errorf("%v, %+v", err, r)
	}
}

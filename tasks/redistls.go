package tasks

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// redisTLS is what the query of an address says of TLS.
type redisTLS struct{ caFile, certFile, keyFile, serverName string }

// takeTLS takes out of a query what go-redis does not know.
func takeTLS(query string) (rest string, t redisTLS, err error) {
	known := map[string]*string{
		"tls_ca_file": &t.caFile, "tls_cert_file": &t.certFile, "tls_key_file": &t.keyFile, "tls_server_name": &t.serverName,
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if known[name] == nil {
			kept = append(kept, pair)
			continue
		}
		if *known[name], err = url.QueryUnescape(value); err != nil || *known[name] == "" {
			return "", t, fmt.Errorf("not a Redis address: %s is empty or not percent-encoded", name)
		}
	}
	return strings.Join(kept, "&"), t, nil
}

// secure applies what was said of TLS, and makes sure that the files can be used.
func (r *Redis) secure(t redisTLS) error {
	if t == (redisTLS{}) {
		return nil
	}
	c := r.tlsConfig()
	if c == nil {
		return errors.New("not a Redis address: tls_… is for rediss://, rediss-sentinel:// and rediss-cluster://")
	}
	if t.serverName != "" {
		c.ServerName = t.serverName
	}
	if t.caFile != "" {
		pem, err := os.ReadFile(t.caFile)
		if err != nil {
			return fmt.Errorf("tls_ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("tls_ca_file: %s holds no certificate in PEM", t.caFile)
		}
	}
	if (t.certFile == "") != (t.keyFile == "") {
		return errors.New("not a Redis address: tls_cert_file and tls_key_file go together")
	}
	if t.certFile == "" {
		return nil
	}
	if _, err := t.certificate(nil); err != nil {
		return err
	}
	c.GetClientCertificate = t.certificate
	return nil
}

// certificate reads the files, which may have been renewed since the last time.
func (t redisTLS) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
	if err != nil {
		return nil, fmt.Errorf("tls_cert_file and tls_key_file: %w", err)
	}
	return &pair, nil
}

func (r *Redis) tlsConfig() *tls.Config {
	switch {
	case r.failover != nil:
		return r.failover.TLSConfig
	case r.cluster != nil:
		return r.cluster.TLSConfig
	default:
		return r.simple.TLSConfig
	}
}

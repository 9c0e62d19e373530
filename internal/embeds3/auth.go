package embeds3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	scheme          = "AWS4-HMAC-SHA256"
	unsignedPayload = "UNSIGNED-PAYLOAD"
	amzTime         = "20060102T150405Z"

	maxSkew     = 15 * time.Minute
	maxLifetime = 7 * 24 * time.Hour // of a presigned link
)

// signature is a version 4 signature with what it was made of.
type signature struct {
	credential, headers, sum string
	date                     string
	payload                  string        // hash of the body, or what stands for it
	lifetime                 time.Duration // of a link, 0 for a request
}

// authenticate verifies the signature in the Authorization header or, of a
// presigned link, in the query.
func (s *Server) authenticate(r *http.Request, query url.Values) error {
	sig, err := signatureOf(r, query)
	if err != nil {
		return err
	}
	scope := strings.Split(sig.credential, "/") // key/day/region/s3/aws4_request
	if len(scope) != 5 || scope[3] != "s3" || scope[4] != "aws4_request" || !strings.HasPrefix(sig.date, scope[1]) {
		return s3Error{http.StatusBadRequest, "AuthorizationHeaderMalformed", "the credential's scope is not valid"}
	}
	if scope[0] != s.opts.AccessKey {
		return s3Error{http.StatusForbidden, "InvalidAccessKeyId", "the access key does not exist"}
	}
	if err := sig.checkTime(time.Now()); err != nil {
		return err
	}
	signed := strings.Split(sig.headers, ";")
	if err := checkSigned(r, signed); err != nil {
		return err
	}
	key := []byte("AWS4" + s.opts.SecretKey)
	for _, part := range scope[1:] {
		key = mac(key, part)
	}
	canonical := sha256.Sum256([]byte(canonicalRequest(r, query, signed, sig.payload)))
	want := mac(key, strings.Join([]string{scheme, sig.date, strings.Join(scope[1:], "/"), hex.EncodeToString(canonical[:])}, "\n"))
	if got, err := hex.DecodeString(sig.sum); err != nil || !hmac.Equal(got, want) {
		return s3Error{http.StatusForbidden, "SignatureDoesNotMatch", "the signature does not match: check the secret key"}
	}
	return nil
}

var authorization = regexp.MustCompile(`^` + scheme + ` Credential=([^, ]+), ?SignedHeaders=([^, ]+), ?Signature=([0-9a-f]+)$`)

func signatureOf(r *http.Request, query url.Values) (signature, error) {
	if query.Get("X-Amz-Algorithm") == scheme {
		seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
		sig := signature{
			credential: query.Get("X-Amz-Credential"), headers: query.Get("X-Amz-SignedHeaders"), sum: query.Get("X-Amz-Signature"),
			date: query.Get("X-Amz-Date"), payload: unsignedPayload, lifetime: time.Duration(seconds) * time.Second,
		}
		if err != nil || sig.lifetime <= 0 || sig.lifetime > maxLifetime {
			return sig, s3Error{http.StatusBadRequest, "AuthorizationQueryParametersError", "X-Amz-Expires must be from 1 to 604800"}
		}
		return sig, nil
	}
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return signature{}, s3Error{http.StatusForbidden, "AccessDenied", "the request is not signed"}
	}
	return signature{
		credential: m[1], headers: m[2], sum: m[3],
		date: r.Header.Get("X-Amz-Date"), payload: r.Header.Get("X-Amz-Content-Sha256"),
	}, nil
}

func (s signature) checkTime(now time.Time) error {
	date, err := time.Parse(amzTime, s.date)
	if err != nil {
		return s3Error{http.StatusForbidden, "AccessDenied", "X-Amz-Date is missing or not valid"}
	}
	age := now.Sub(date)
	switch {
	case s.lifetime > 0 && age > s.lifetime:
		return s3Error{http.StatusForbidden, "AccessDenied", "the link has expired"}
	case age < -maxSkew, s.lifetime == 0 && age > maxSkew:
		return s3Error{http.StatusForbidden, "RequestTimeTooSkewed", "the clocks of client and server differ too much"}
	}
	return nil
}

// checkSigned refuses headers that S3 would act on and that nobody has signed.
func checkSigned(r *http.Request, signed []string) error {
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return s3Error{http.StatusForbidden, "AccessDenied", "not signed: " + name}
		}
	}
	if !slices.Contains(signed, "host") {
		return s3Error{http.StatusForbidden, "AccessDenied", "not signed: host"}
	}
	return nil
}

var spaces = regexp.MustCompile(` +`)

func canonicalRequest(r *http.Request, query url.Values, signed []string, payload string) string {
	var b strings.Builder
	parameters := url.Values{}
	for name, values := range query {
		if name != "X-Amz-Signature" {
			parameters[name] = values
		}
	}
	path := strings.ReplaceAll(escape(r.URL.Path), "%2F", "/")
	b.WriteString(r.Method + "\n" + path + "\n" + strings.ReplaceAll(parameters.Encode(), "+", "%20") + "\n")
	for _, name := range signed {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		b.WriteString(name + ":" + strings.Trim(spaces.ReplaceAllString(strings.Join(values, ","), " "), " ") + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

// escape escapes all but the unreserved characters.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

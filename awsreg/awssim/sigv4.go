package awssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// maxSkew is how far the date of a signature may be from the server's clock (AWS
// General Reference, Signature Version 4: requests older than a few minutes are
// refused; the window is 15 minutes).
const maxSkew = 15 * time.Minute

// scope is the credential scope of a verified signature.
type scope struct {
	credential
	region  string
	service string
}

// authorization is a parsed Authorization header.
type authorization struct {
	accessKey, date, region, service string
	signed                           []string
	signature                        string
}

// verifySigV4 checks the Signature Version 4 of a request whose body has been
// read. Error codes are those of "Common Errors" in the AWS API references.
func verifySigV4(r *http.Request, body []byte, keys keyring, now time.Time) (scope, *apiError) {
	deny := func(code, msg string) (scope, *apiError) {
		return scope{}, &apiError{code: code, status: http.StatusForbidden, message: msg}
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return deny("MissingAuthenticationToken", "Missing Authentication Token")
	}
	auth, ok := parseAuthorization(header)
	if !ok {
		return deny("IncompleteSignature", "Authorization header is not a complete AWS4-HMAC-SHA256 signature")
	}
	cred, denied := keys.find(auth.accessKey, r.Header.Get("X-Amz-Security-Token"), now)
	if denied != nil {
		return scope{}, denied
	}
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", stamp)
	if err != nil || !strings.HasPrefix(stamp, auth.date) {
		return deny("IncompleteSignature", "Date in Credential scope does not match the X-Amz-Date header")
	}
	if at.Before(now.Add(-maxSkew)) {
		return deny("SignatureDoesNotMatch", "Signature expired: "+stamp+" is now earlier than "+now.Add(-maxSkew).UTC().Format("20060102T150405Z"))
	}
	if at.After(now.Add(maxSkew)) {
		return deny("SignatureDoesNotMatch", "Signature not yet current: "+stamp+" is still later than "+now.Add(maxSkew).UTC().Format("20060102T150405Z"))
	}
	if !contains(auth.signed, "host") || !contains(auth.signed, "x-amz-date") {
		return deny("IncompleteSignature", "the headers host and x-amz-date must be signed")
	}
	// Every x-amz- header is part of what the caller vouches for ("Create a signed
	// AWS API request", canonical headers).
	for name := range r.Header {
		if n := strings.ToLower(name); strings.HasPrefix(n, "x-amz-") && n != "x-amz-content-sha256" && !contains(auth.signed, n) {
			return deny("SignatureDoesNotMatch", "the header "+n+" is not signed")
		}
	}
	payload, ok := payloadHash(r, body, auth.service)
	if !ok {
		return deny("SignatureDoesNotMatch", "x-amz-content-sha256 is not the hash of the body")
	}
	canonical := canonicalRequest(r, auth, payload)
	want := signature(cred.secret, auth, stamp, canonical)
	if subtle.ConstantTimeCompare([]byte(want), []byte(auth.signature)) != 1 {
		return deny("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return scope{cred, auth.region, auth.service}, nil
}

// parseAuthorization reads "AWS4-HMAC-SHA256 Credential=.../.../.../.../aws4_request,
// SignedHeaders=...;..., Signature=...".
func parseAuthorization(h string) (authorization, bool) {
	rest, ok := strings.CutPrefix(h, "AWS4-HMAC-SHA256 ")
	if !ok {
		return authorization{}, false
	}
	var a authorization
	for _, part := range strings.Split(rest, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return authorization{}, false
		}
		switch k {
		case "Credential":
			c := strings.Split(v, "/")
			if len(c) != 5 || c[4] != "aws4_request" {
				return authorization{}, false
			}
			a.accessKey, a.date, a.region, a.service = c[0], c[1], c[2], c[3]
		case "SignedHeaders":
			a.signed = strings.Split(v, ";")
		case "Signature":
			a.signature = v
		}
	}
	complete := a.accessKey != "" && len(a.date) == 8 && a.region != "" && a.service != "" &&
		len(a.signed) > 0 && a.signature != "" && sort.StringsAreSorted(a.signed)
	return a, complete
}

// canonicalRequest builds what was signed ("Create a signed AWS API request",
// step 1). Outside S3 the path is encoded a second time.
func canonicalRequest(r *http.Request, auth authorization, payload string) string {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if path == "" {
		path = "/"
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(path, auth.service) + "\n" + canonicalQuery(query) + "\n")
	for _, name := range auth.signed {
		b.WriteString(name + ":" + canonicalHeader(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(auth.signed, ";") + "\n" + payload)
	return b.String()
}

func canonicalHeader(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := r.Header.Values(name)
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(out, ",")
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for _, p := range strings.Split(raw, "&") {
		k, v, _ := strings.Cut(p, "=")
		key, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			return "\x00" // matches no signature
		}
		pairs = append(pairs, awsEscape(key, false)+"="+awsEscape(value, false))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, "&")
}

// awsEscape is the URI encoding of Signature Version 4: everything but the
// unreserved characters of RFC 3986.
func awsEscape(s string, keepSlash bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~', c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// signature computes the signature ("Create a signed AWS API request", steps 2 to 4).
func signature(secret string, a authorization, stamp, canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n" + stamp + "\n" +
		a.date + "/" + a.region + "/" + a.service + "/aws4_request\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + secret)
	for _, part := range []string{a.date, a.region, a.service, "aws4_request", toSign} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

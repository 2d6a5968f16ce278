package keystore

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

const (
	azureVaultHost = "factory-vault.vault.azure.net"
	azureLoginHost = "login.microsoftonline.com"
	azureTenantID  = "11111111-2222-3333-4444-555555555555"
	azureClientID  = "66666666-7777-8888-9999-000000000000"
	azureSecret    = "a secret of the application"
)

// azureDouble answers as the REST reference of Key Vault keys says (API version
// 2025-07-01), with keys of its own, and for Entra as far as the SDK asks. It does
// what the name of a key says: "throttled" answers 429 once, "forbidden" 403.
type azureDouble struct {
	t *testing.T

	mu    sync.Mutex
	token string
	keys  map[string]*azureDoubleKey // by name/version
	once  map[string]bool
}

type azureDoubleKey struct {
	signer crypto.Signer
	jwk    map[string]any
}

// azureWorld starts a double and a proxy that leads the names of Azure to it and
// nothing anywhere else, and returns the environment of a process in that world.
func azureWorld(t *testing.T) []string {
	d := &azureDouble{t: t, keys: make(map[string]*azureDoubleKey), once: make(map[string]bool)}
	key := pkitest.Key(t, "P-256")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "double of Azure"}, DNSNames: []string{azureVaultHost, azureLoginHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(d)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != azureVaultHost+":443" && r.Host != azureLoginHost+":443" {
			t.Errorf("a call that leaves the world: %s %s", r.Method, r.Host)
			http.Error(w, "no way", http.StatusForbidden)
			return
		}
		tunnel(w, server.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	dir := t.TempDir()
	roots := pkitest.WriteFile(t, "roots.pem", pkitest.PEM("CERTIFICATE", cert))
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "HTTPS_PROXY=" + proxy.URL, "SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=" + filepath.Join(dir, "none"),
		"AZURE_TENANT_ID=" + azureTenantID, "AZURE_CLIENT_ID=" + azureClientID, "AZURE_CLIENT_SECRET=" + azureSecret,
	}
}

// tunnel connects the client of a CONNECT to addr.
func tunnel(w http.ResponseWriter, addr string) {
	far, err := net.Dial("tcp", addr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		far.Close()
		return
	}
	io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		defer far.Close()
		bufio.NewReader(buffered).WriteTo(far)
	}()
	go func() {
		defer near.Close()
		io.Copy(near, far)
	}()
}

func (d *azureDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	login := "https://" + azureLoginHost + "/" + azureTenantID
	mux.HandleFunc("GET "+azureLoginHost+"/common/discovery/instance", func(w http.ResponseWriter, r *http.Request) {
		d.reply(w, 200, map[string]any{"tenant_discovery_endpoint": login + "/v2.0/.well-known/openid-configuration", "metadata": []any{
			map[string]any{"preferred_network": azureLoginHost, "preferred_cache": azureLoginHost, "aliases": []string{azureLoginHost}}}})
	})
	mux.HandleFunc("GET "+azureLoginHost+"/"+azureTenantID+"/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		d.reply(w, 200, map[string]any{"issuer": login + "/v2.0", "authorization_endpoint": login + "/oauth2/v2.0/authorize", "token_endpoint": login + "/oauth2/v2.0/token"})
	})
	mux.HandleFunc("POST "+azureLoginHost+"/"+azureTenantID+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != azureClientID || r.FormValue("client_secret") != azureSecret || !strings.Contains(r.FormValue("scope"), "https://vault.azure.net/.default") {
			d.reply(w, 401, map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
			return
		}
		d.reply(w, 200, map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": d.bearer()})
	})
	mux.HandleFunc("GET "+azureVaultHost+"/keys/{name}/{version...}", d.withToken(d.get))
	mux.HandleFunc("POST "+azureVaultHost+"/keys/{name}/create", d.withToken(d.create))
	mux.HandleFunc("POST "+azureVaultHost+"/keys/{name}/{version}/sign", d.withToken(d.sign))
	mux.ServeHTTP(w, r)
}

func (d *azureDouble) reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func (d *azureDouble) refuse(w http.ResponseWriter, status int, code, message string) {
	d.reply(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func (d *azureDouble) bearer() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token == "" {
		d.token = rand.Text()
	}
	return d.token
}

// withToken asks for a token, in the words of
// https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
func (d *azureDouble) withToken(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+d.bearer() {
			w.Header().Set("WWW-Authenticate", `Bearer authorization="https://`+azureLoginHost+`/`+azureTenantID+`", resource="https://vault.azure.net"`)
			d.refuse(w, 401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
			return
		}
		if r.URL.Query().Get("api-version") == "" {
			d.refuse(w, 400, "BadParameter", "api-version must be specified")
			return
		}
		next(w, r)
	}
}

func (d *azureDouble) get(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if name == "forbidden" {
		d.refuse(w, 403, "Forbidden", "Caller is not authorized to perform action on resource.")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, key := range d.keys {
		if n, version, _ := strings.Cut(id, "/"); n == name && (r.PathValue("version") == "" || r.PathValue("version") == version) {
			d.reply(w, 200, map[string]any{"key": key.jwk, "attributes": map[string]any{"enabled": true}})
			return
		}
	}
	d.refuse(w, 404, "KeyNotFound", "A key with (name/id) "+name+" was not found in this key vault.")
}

func (d *azureDouble) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Kty, Crv string
		Size     int      `json:"key_size"`
		Ops      []string `json:"key_ops"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || strings.Join(in.Ops, " ") != "sign verify" {
		d.refuse(w, 400, "BadParameter", fmt.Sprint("not a key for signatures: ", in.Ops, err))
		return
	}
	alg := in.Crv
	if strings.HasPrefix(in.Kty, "RSA") {
		alg = fmt.Sprintf("RSA-%d", in.Size)
	}
	signer, err := generate(alg)
	if err != nil {
		d.refuse(w, 400, "BadParameter", err.Error())
		return
	}
	random := make([]byte, 16)
	rand.Read(random)
	id := r.PathValue("name") + "/" + hex.EncodeToString(random)
	jwk := map[string]any{"kid": "https://" + azureVaultHost + "/keys/" + id, "kty": in.Kty, "key_ops": in.Ops}
	b64 := base64.RawURLEncoding.EncodeToString
	switch public := signer.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			d.t.Error(err)
		}
		half := (len(point) - 1) / 2
		jwk["crv"], jwk["x"], jwk["y"] = in.Crv, b64(point[1:1+half]), b64(point[1+half:])
	case *rsa.PublicKey:
		jwk["n"], jwk["e"] = b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[id] = &azureDoubleKey{signer, jwk}
	d.reply(w, 200, map[string]any{"key": jwk, "attributes": map[string]any{"enabled": true}})
}

func (d *azureDouble) sign(w http.ResponseWriter, r *http.Request) {
	var in struct{ Alg, Value string }
	json.NewDecoder(r.Body).Decode(&in)
	digest, err := base64.RawURLEncoding.DecodeString(in.Value)
	hash := map[string]crypto.Hash{"ES256": crypto.SHA256, "ES384": crypto.SHA384, "RS256": crypto.SHA256}[in.Alg]
	d.mu.Lock()
	defer d.mu.Unlock()
	name := r.PathValue("name")
	key := d.keys[name+"/"+r.PathValue("version")]
	switch {
	case key == nil:
		d.refuse(w, 404, "KeyNotFound", "A key with (name/id) "+name+" was not found in this key vault.")
		return
	case err != nil || hash == 0 || len(digest) != hash.Size():
		d.refuse(w, 400, "BadParameter", "the digest is none of "+in.Alg)
		return
	case name == "throttled" && !d.once[name]:
		d.once[name] = true
		d.refuse(w, 429, "Throttled", "Request was not processed because too many requests were received.")
		return
	}
	signature, err := key.signer.Sign(rand.Reader, digest, hash)
	if public, ok := key.signer.Public().(*ecdsa.PublicKey); ok && err == nil {
		// R and S one after the other, as in RFC 7518, Section 3.4.
		var rs struct{ R, S *big.Int }
		_, err = asn1.Unmarshal(signature, &rs)
		size := (public.Params().BitSize + 7) / 8
		signature = append(rs.R.FillBytes(make([]byte, size)), rs.S.FillBytes(make([]byte, size))...)
	}
	if err != nil {
		d.t.Error(err)
	}
	d.reply(w, 200, map[string]any{"kid": key.jwk["kid"], "value": base64.RawURLEncoding.EncodeToString(signature)})
}

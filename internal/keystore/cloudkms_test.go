//go:build cloudkms

package keystore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	kmsclient "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/kms/cloudkms"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"mintmark/internal/pkitest"
)

// googleDouble answers as google.cloud.kms.v1 says, with keys of its own. It asks for
// no credentials: the library finds them without our doing.
type googleDouble struct {
	kmspb.UnimplementedKeyManagementServiceServer
	mu     sync.Mutex
	rings  map[string]bool
	keys   map[string]crypto.Signer
	levels map[string]kmspb.ProtectionLevel
	algs   map[string]kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
}

func (d *googleDouble) GetKeyRing(_ context.Context, in *kmspb.GetKeyRingRequest) (*kmspb.KeyRing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.rings[in.Name] {
		return nil, status.Error(codes.NotFound, in.Name+" not found.")
	}
	return &kmspb.KeyRing{Name: in.Name}, nil
}

func (d *googleDouble) CreateKeyRing(_ context.Context, in *kmspb.CreateKeyRingRequest) (*kmspb.KeyRing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := in.Parent + "/keyRings/" + in.KeyRingId
	d.rings[name] = true
	return &kmspb.KeyRing{Name: name}, nil
}

func (d *googleDouble) CreateCryptoKey(_ context.Context, in *kmspb.CreateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	template := in.CryptoKey.VersionTemplate
	alg := map[kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm]string{
		kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256: "P-256", kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384: "P-384", kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256: "RSA-2048",
	}[template.Algorithm]
	if alg == "" || in.CryptoKey.Purpose != kmspb.CryptoKey_ASYMMETRIC_SIGN {
		return nil, status.Error(codes.InvalidArgument, "the double makes no such key")
	}
	signer, err := generate(alg)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := in.Parent + "/cryptoKeys/" + in.CryptoKeyId
	if d.keys[name+"/cryptoKeyVersions/1"] != nil {
		return nil, status.Error(codes.AlreadyExists, name+" already exists.")
	}
	d.keys[name+"/cryptoKeyVersions/1"], d.levels[name], d.algs[name+"/cryptoKeyVersions/1"] = signer, template.ProtectionLevel, template.Algorithm
	return &kmspb.CryptoKey{Name: name, Purpose: in.CryptoKey.Purpose}, nil
}

func (d *googleDouble) GetPublicKey(_ context.Context, in *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := d.keys[in.Name]
	if key == nil {
		return nil, status.Error(codes.NotFound, in.Name+" not found.")
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return &kmspb.PublicKey{Name: in.Name, Algorithm: d.algs[in.Name], Pem: string(pkitest.PEM("PUBLIC KEY", der))}, err
}

func (d *googleDouble) AsymmetricSign(_ context.Context, in *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	digest, hash := in.Digest.GetSha256(), crypto.SHA256
	if d.algs[in.Name] == kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384 {
		digest, hash = in.Digest.GetSha384(), crypto.SHA384
	}
	if d.keys[in.Name] == nil || len(digest) != hash.Size() {
		return nil, status.Error(codes.InvalidArgument, "no digest for this key")
	}
	signature, err := d.keys[in.Name].Sign(rand.Reader, digest, hash)
	return &kmspb.AsymmetricSignResponse{Name: in.Name, Signature: signature}, err
}

// Keys in Google Cloud KMS, by Google's own client over gRPC without TLS.
func TestGoogleKMS(t *testing.T) {
	d := &googleDouble{
		rings: make(map[string]bool), keys: make(map[string]crypto.Signer),
		levels: make(map[string]kmspb.ProtectionLevel), algs: make(map[string]kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, d)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	s := open(t, Config{})
	key := func(uri string, creating bool) *googleKey {
		t.Helper()
		u, err := parseURI(uri)
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.external(u, creating)
		if err != nil {
			t.Fatal(err)
		}
		k := e.(*googleKey)
		k.dial = func(ctx context.Context, _ apiv1.Options) (*cloudkms.CloudKMS, error) {
			c, err := kmsclient.NewKeyManagementClient(ctx, option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
				option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
			if err != nil {
				return nil, err
			}
			return cloudkms.NewCloudKMS(c), nil
		}
		return k
	}
	const ring = "projects/factory/locations/europe-west3/keyRings/pki"
	for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
		k := key("cloudkms:"+ring+"/cryptoKeys/"+alg, true)
		uri, err := k.create(background, alg)
		if err != nil {
			t.Fatal(err)
		}
		if uri != "cloudkms:resource="+ring+"/cryptoKeys/"+alg+"/cryptoKeyVersions/1" {
			t.Errorf("the key is %s", uri)
		}
		if level := d.levels[ring+"/cryptoKeys/"+alg]; level != kmspb.ProtectionLevel_HSM {
			t.Errorf("the protection level is %v", level)
		}
		if _, err := k.create(background, alg); !errors.Is(err, ErrExists) {
			t.Errorf("making it again: %v", err)
		}
		opened := key(uri, false)
		signer, err := opened.open(background)
		if err != nil {
			t.Fatal(err)
		}
		if kindOf(signer.Public()) != alg {
			t.Errorf("asked for %s, got %s", alg, kindOf(signer.Public()))
		}
		if err := testSign(&bounded{name: uri, inner: signer, gate: s.kms.gate(opened), within: signWithin}); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if err := opened.destroy(background, signer.Public()); err == nil || !strings.Contains(err.Error(), "gcloud kms") {
			t.Errorf("destroying: %v", err)
		}
	}
	if _, err := key("cloudkms:"+ring+"/cryptoKeys/none/cryptoKeyVersions/1", false).open(background); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
}

func TestGoogleURIs(t *testing.T) {
	s := open(t, Config{})
	const name = "cloudkms:projects/p/locations/l/keyRings/r/cryptoKeys/k"
	for _, tt := range []struct {
		uri      string
		creating bool
		want     string
	}{
		{name, true, ""},
		{name + "?hsm=false", true, ""},
		{name + ";credentials-file=/etc/mintmark/google.json", true, "is no attribute"},
		{name + "/cryptoKeyVersions/1", false, ""},
		{"cloudkms:resource=projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", false, ""},
		{name, false, "names no version"},
		{name + "/cryptoKeyVersions/1", true, "has no version yet"},
		{name + "/cryptoKeyVersions/x", false, "names no key"},
		{"cloudkms:projects/p", true, "names no key"},
		{"cloudkms:projects/../x", true, "names no key"},
		{name + "?hsm=maybe", true, "true or false"},
		{name + ";secret=hunter2", true, "does not belong into a URI"},
		{name + ";endpoint=x", true, "is no attribute"},
	} {
		u, err := parseURI(tt.uri)
		if err == nil {
			_, err = s.external(u, tt.creating)
		}
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", tt.uri, err, tt.want)
		}
	}
}

package keystore

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"mintmark/internal/pkitest"
)

// awsDouble answers as the API reference of AWS KMS says (API version 2014-11-01, AWS
// JSON 1.1), with keys of its own. It checks no signatures of requests.
type awsDouble struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	keys    map[string]*awsDoubleKey // by ARN
	aliases map[string]string        // to ARNs
	calls   []string
	// fault, if it returns a code, is the answer to the operation.
	fault func(operation string) (code, message string)
}

type awsDoubleKey struct {
	signer             crypto.Signer
	spec, usage, state string
	description        string
}

const awsRegion = "eu-central-1"

// newAWSDouble starts a double, and points the SDK and the CLI to it.
func newAWSDouble(t *testing.T) *awsDouble {
	d := &awsDouble{t: t, keys: make(map[string]*awsDoubleKey), aliases: make(map[string]string)}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	d.url = server.URL
	none := filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": d.url, "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_ENDPOINT_URL": "",
	} {
		t.Setenv(name, v)
		if v == "" {
			os.Unsetenv(name)
		}
	}
	return d
}

// cli runs the AWS CLI. A shim of that name may stand earlier in the path than
// Debian's.
func (d *awsDouble) cli(args ...string) string {
	d.t.Helper()
	name := "/usr/bin/aws"
	if _, err := exec.LookPath(name); err != nil {
		name = pkitest.Tool(d.t, "aws")
	}
	cmd := exec.Command(name, append([]string{"kms", "--endpoint-url", d.url, "--region", awsRegion, "--output", "text"}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("aws kms %q: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

type awsFault struct{ code, message string }

func (f awsFault) Error() string { return f.code }

var awsScope = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/[0-9]{8}/` + awsRegion + `/kms/aws4_request,`)

func (d *awsDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := d.answer(r)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("x-amzn-RequestId", "00000000-0000-4000-8000-000000000000")
	var fault awsFault
	if errors.As(err, &fault) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"__type": fault.code, "message": fault.message})
		return
	}
	if err != nil {
		d.t.Errorf("the double of AWS KMS: %v", err)
	}
	json.NewEncoder(w).Encode(answer)
}

func (d *awsDouble) answer(r *http.Request) (any, error) {
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if !ok || r.Method != http.MethodPost || !awsScope.MatchString(r.Header.Get("Authorization")) {
		return nil, awsFault{"MissingAuthenticationTokenException", "not signed for KMS in " + awsRegion}
	}
	var in struct {
		KeyId, AliasName, TargetKeyId, Description, KeySpec, KeyUsage string
		MessageType, SigningAlgorithm                                 string
		Message                                                       []byte
		PendingWindowInDays                                           int
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, awsFault{"SerializationException", err.Error()}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, operation)
	if d.fault != nil {
		if code, message := d.fault(operation); code != "" {
			return nil, awsFault{code, message}
		}
	}
	if operation == "CreateKey" {
		return d.create(in.KeySpec, in.KeyUsage, in.Description)
	}
	if operation == "CreateAlias" {
		in.KeyId = in.TargetKeyId
	}
	id := in.KeyId
	if strings.HasPrefix(id, "alias/") {
		id = d.aliases[id]
	}
	key := d.keys[id]
	if key == nil {
		return nil, awsFault{"NotFoundException", fmt.Sprintf("Alias or key %s is not found.", in.KeyId)}
	}
	switch operation {
	case "CreateAlias":
		if d.aliases[in.AliasName] != "" {
			return nil, awsFault{"AlreadyExistsException", "An alias with the name " + in.AliasName + " already exists"}
		}
		d.aliases[in.AliasName] = id
		return struct{}{}, nil
	case "DescribeKey":
		return map[string]any{"KeyMetadata": d.metadata(id)}, nil
	case "ScheduleKeyDeletion":
		key.state = "PendingDeletion"
		return map[string]any{"KeyId": id, "PendingWindowInDays": in.PendingWindowInDays}, nil
	}
	if key.state != "Enabled" {
		return nil, awsFault{"KMSInvalidStateException", id + " is " + key.state + "."}
	}
	switch operation {
	case "GetPublicKey":
		der, err := x509.MarshalPKIXPublicKey(key.signer.Public())
		return map[string]any{"KeyId": id, "KeySpec": key.spec, "CustomerMasterKeySpec": key.spec, "KeyUsage": key.usage, "PublicKey": der}, err
	case "Sign":
		return d.sign(id, key, in.MessageType, in.SigningAlgorithm, in.Message)
	}
	return nil, awsFault{"UnknownOperationException", operation}
}

func (d *awsDouble) create(spec, usage, description string) (any, error) {
	algs := map[string]string{"ECC_NIST_P256": "P-256", "ECC_NIST_P384": "P-384", "RSA_2048": "RSA-2048"}
	if algs[spec] == "" {
		return nil, awsFault{"ValidationException", "the double makes no " + spec}
	}
	signer, err := generate(algs[spec])
	if err != nil {
		return nil, err
	}
	id := make([]byte, 16)
	rand.Read(id)
	arn := fmt.Sprintf("arn:aws:kms:%s:111122223333:key/%x-%x-%x-%x-%x", awsRegion, id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	d.keys[arn] = &awsDoubleKey{signer: signer, spec: spec, usage: usage, state: "Enabled", description: description}
	return map[string]any{"KeyMetadata": d.metadata(arn)}, nil
}

func (d *awsDouble) metadata(arn string) map[string]any {
	key := d.keys[arn]
	return map[string]any{
		"Arn": arn, "KeyId": arn[strings.Index(arn, "/")+1:], "AWSAccountId": "111122223333", "CreationDate": 1.7e9, "Enabled": key.state == "Enabled",
		"KeySpec": key.spec, "KeyUsage": key.usage, "KeyState": key.state, "Description": key.description, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
	}
}

func (d *awsDouble) sign(id string, key *awsDoubleKey, messageType, algorithm string, message []byte) (any, error) {
	hash := map[string]crypto.Hash{
		"ECC_NIST_P256 ECDSA_SHA_256": crypto.SHA256, "ECC_NIST_P384 ECDSA_SHA_384": crypto.SHA384,
		"RSA_2048 RSASSA_PKCS1_V1_5_SHA_256": crypto.SHA256, "RSA_2048 RSASSA_PKCS1_V1_5_SHA_384": crypto.SHA384, "RSA_2048 RSASSA_PKCS1_V1_5_SHA_512": crypto.SHA512,
	}[key.spec+" "+algorithm]
	switch {
	case key.usage != "SIGN_VERIFY" || hash == 0:
		return nil, awsFault{"InvalidKeyUsageException", id + " key usage is " + key.usage + " which is not valid for Sign with " + algorithm}
	case messageType != "DIGEST" || len(message) != hash.Size():
		return nil, awsFault{"ValidationException", "Digest is invalid length for algorithm " + algorithm}
	}
	signature, err := key.signer.Sign(rand.Reader, message, hash)
	if _, ok := key.signer.(*rsa.PrivateKey); ok && err == nil && len(signature) != 256 {
		err = errors.New("an RSA signature of another length")
	}
	return map[string]any{"KeyId": id, "SigningAlgorithm": algorithm, "Signature": signature}, err
}

package awssim

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// Limits of Secrets Manager (AWS Secrets Manager user guide, reference_limits), but
// for the number of secrets and versions, which is the simulator's own.
const (
	maxSecretValue    = 65536
	maxSecrets        = 1000
	maxSecretVersions = 100
)

var (
	secretName  = pattern.New(`^[A-Za-z0-9/_+=.@-]{1,512}$`)
	secretToken = pattern.New(`^[A-Za-z0-9-]{32,64}$`)
)

// secret is one secret. Its values are in memory only, and appear in no event, log
// or dump.
type secret struct {
	name        string
	arn         string
	description string
	created     time.Time
	changed     time.Time
	versions    []*secretVersion // oldest first
}

type secretVersion struct {
	id     string
	text   *string
	binary []byte
	made   time.Time
	stages []string
}

// secretOperations are the operations by the last part of x-amz-target.
var secretOperations = map[string]func(*call) (any, error){
	"CreateSecret":   createSecret,
	"PutSecretValue": putSecretValue,
	"GetSecretValue": getSecretValue,
	"DescribeSecret": describeSecret,
	"DeleteSecret":   deleteSecret,
}

func secretError(code, format string, args ...any) *apiError {
	return &apiError{code: code, status: http.StatusBadRequest, message: fmt.Sprintf(format, args...)}
}

// serveSecrets dispatches one JSON 1.1 request to Secrets Manager.
func (s *Sim) serveSecrets(w http.ResponseWriter, c *call) {
	const mime = "application/x-amz-json-1.1"
	refuse := func(e *apiError) {
		writeJSON(w, e.status, mime, map[string]string{"__type": e.code, "Message": e.message, "message": e.message})
	}
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), "secretsmanager.")
	run := secretOperations[name]
	if !ok || run == nil {
		refuse(noOperation("the Secrets Manager operation " + clip(name, 64)))
		return
	}
	s.perform(w, c, "secretsmanager:"+name, func() (any, error) { return run(c) }, func(v any, e *apiError) {
		if e != nil {
			refuse(e)
			return
		}
		writeJSON(w, http.StatusOK, mime, v)
	})
}

// decodeSecret reads a request. An error never quotes the body: it may be a secret.
func (c *call) decodeSecret(v any) error {
	if err := decodeStrict(c.body, v); err != nil {
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return noOperation("the member " + clip(field, 64) + " of this request")
		}
		return secretError("InvalidParameterException", "the request is not a JSON document of this operation")
	}
	return nil
}

// findSecret finds a secret by name, ARN, or ARN without the six random characters.
// The caller holds w.mu.
func (w *world) findSecret(id string) (*secret, error) {
	if s, ok := w.secrets[id]; ok {
		return s, nil
	}
	if name, ok := strings.CutPrefix(id, w.arn("secretsmanager", "secret:")); ok {
		for _, s := range w.secrets {
			if s.arn == id || s.name == name {
				return s, nil
			}
		}
	}
	return nil, secretError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

type secretValue struct {
	Token  string  `json:"ClientRequestToken"`
	Text   *string `json:"SecretString"`
	Binary []byte  `json:"SecretBinary"`
}

func (v secretValue) check() error {
	switch {
	case v.Text != nil && v.Binary != nil:
		return secretError("InvalidParameterException", "You can't specify both SecretString and SecretBinary.")
	case v.Text != nil && len(*v.Text) > maxSecretValue || len(v.Binary) > maxSecretValue:
		return secretError("InvalidParameterException", "a secret value has at most %d bytes", maxSecretValue)
	case v.Token != "" && !secretToken.MatchString(v.Token):
		return secretError("InvalidParameterException", "ClientRequestToken must be 32 to 64 characters long.")
	}
	return nil
}

func (v secretValue) empty() bool { return v.Text == nil && v.Binary == nil }

// add makes a version the current one. The same token with the same value changes
// nothing, with another value it is refused (AWS Secrets Manager API reference,
// PutSecretValue).
func (s *secret) add(v secretValue, now time.Time) (*secretVersion, error) {
	if v.Token == "" {
		v.Token = randomID()
	}
	for _, old := range s.versions {
		if old.id != v.Token {
			continue
		}
		same := string(old.binary) == string(v.Binary) && (old.text == nil) == (v.Text == nil) && (v.Text == nil || *old.text == *v.Text)
		if !same {
			return nil, secretError("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", v.Token, s.arn)
		}
		return old, nil
	}
	for _, old := range s.versions {
		switch {
		case len(old.stages) > 0 && old.stages[0] == "AWSCURRENT":
			old.stages = []string{"AWSPREVIOUS"}
		default:
			old.stages = nil
		}
	}
	next := &secretVersion{id: v.Token, text: v.Text, binary: v.Binary, made: now, stages: []string{"AWSCURRENT"}}
	if s.versions = append(s.versions, next); len(s.versions) > maxSecretVersions {
		s.versions = s.versions[1:]
	}
	s.changed = now
	return next, nil
}

func createSecret(c *call) (any, error) {
	var in struct {
		Name        string
		Description string
		secretValue
	}
	if err := c.decodeSecret(&in); err != nil {
		return nil, err
	}
	if !secretName.MatchString(in.Name) {
		return nil, secretError("InvalidParameterException", "a secret's name has 1 to 512 letters, digits or /_+=.@-")
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if old, ok := c.w.secrets[in.Name]; ok {
		return nil, secretError("ResourceExistsException", "The operation failed because the secret %s already exists.", old.name)
	}
	if len(c.w.secrets) >= maxSecrets {
		return nil, secretError("LimitExceededException", "the simulator holds at most %d secrets", maxSecrets)
	}
	s := &secret{
		name: in.Name, description: in.Description, created: c.w.now(), changed: c.w.now(),
		arn: c.w.arn("secretsmanager", "secret:"+in.Name+"-"+randomID()[:6]),
	}
	out := map[string]any{"ARN": s.arn, "Name": s.name}
	if !in.empty() {
		v, err := s.add(in.secretValue, c.w.now())
		if err != nil {
			return nil, err
		}
		out["VersionId"] = v.id
	}
	c.w.secrets[s.name] = s
	return out, nil
}

func putSecretValue(c *call) (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
		secretValue
	}
	if err := c.decodeSecret(&in); err != nil {
		return nil, err
	}
	s, err := c.w.findSecret(in.SecretID)
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.empty() {
		return nil, secretError("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	}
	v, err := s.add(in.secretValue, c.w.now())
	if err != nil {
		return nil, err
	}
	return map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": v.id, "VersionStages": v.stages}, nil
}

func getSecretValue(c *call) (any, error) {
	var in struct {
		SecretID     string `json:"SecretId"`
		VersionID    string `json:"VersionId"`
		VersionStage string
	}
	if err := c.decodeSecret(&in); err != nil {
		return nil, err
	}
	s, err := c.w.findSecret(in.SecretID)
	if err != nil {
		return nil, err
	}
	if in.VersionID == "" && in.VersionStage == "" {
		in.VersionStage = "AWSCURRENT"
	}
	for _, v := range s.versions {
		if in.VersionID != "" && v.id != in.VersionID || in.VersionStage != "" && !contains(v.stages, in.VersionStage) {
			continue
		}
		out := map[string]any{"ARN": s.arn, "Name": s.name, "VersionId": v.id, "VersionStages": v.stages, "CreatedDate": epoch(v.made)}
		if v.text != nil {
			out["SecretString"] = *v.text
		} else {
			out["SecretBinary"] = v.binary
		}
		return out, nil
	}
	return nil, secretError("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", clip(in.VersionStage, 64))
}

func describeSecret(c *call) (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
	}
	if err := c.decodeSecret(&in); err != nil {
		return nil, err
	}
	s, err := c.w.findSecret(in.SecretID)
	if err != nil {
		return nil, err
	}
	stages := map[string][]string{}
	for _, v := range s.versions {
		if len(v.stages) > 0 {
			stages[v.id] = v.stages
		}
	}
	return map[string]any{
		"ARN": s.arn, "Name": s.name, "Description": s.description, "VersionIdsToStages": stages,
		"CreatedDate": epoch(s.created), "LastChangedDate": epoch(s.changed),
	}, nil
}

// deleteSecret deletes at once. AWS waits 7 to 30 days unless told not to, and a
// secret can be restored in that time; here that has to be asked for.
func deleteSecret(c *call) (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
		Force    bool   `json:"ForceDeleteWithoutRecovery"`
		Days     int    `json:"RecoveryWindowInDays"`
	}
	if err := c.decodeSecret(&in); err != nil {
		return nil, err
	}
	if !in.Force || in.Days != 0 {
		return nil, noOperation("recovery windows of secrets; set ForceDeleteWithoutRecovery")
	}
	s, err := c.w.findSecret(in.SecretID)
	if err != nil {
		return nil, err
	}
	delete(c.w.secrets, s.name)
	return map[string]any{"ARN": s.arn, "Name": s.name, "DeletionDate": epoch(c.w.now())}, nil
}

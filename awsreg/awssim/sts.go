package awssim

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// Bounds of AssumeRole (AWS STS API reference, AssumeRole). The maximum that a
// role itself sets is not known here, so it is the largest one that a role can
// set; with the credentials of another role ("role chaining") it is one hour.
const (
	minSession     = 15 * time.Minute
	defaultSession = time.Hour
	maxSession     = 12 * time.Hour
	maxChained     = time.Hour
)

var (
	roleARN     = pattern.New(`^arn:aws:iam::([0-9]{12}):role/((?:[\w+=,.@-]+/)*)([\w+=,.@-]{1,64})$`)
	sessionName = pattern.New(`^[\w+=,.@-]{2,64}$`)
)

// callerIdentity is the answer of GetCallerIdentity in the query protocol (AWS STS
// API reference).
type callerIdentity struct {
	XMLName   xml.Name     `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result    callerResult `xml:"GetCallerIdentityResult"`
	RequestID string       `xml:"ResponseMetadata>RequestId"`
}

type callerResult struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

// assumedRole is the answer of AssumeRole.
type assumedRole struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	ARN       string   `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	RoleID    string   `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	Key       string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret    string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token     string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expires   string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

// stsActions are the actions of STS. Their names are prefixed in Calls only where
// they are ambiguous, which these are not.
var stsActions = map[string]func(*call, url.Values, string) (any, error){
	"GetCallerIdentity": getCallerIdentity,
	"AssumeRole":        assumeRole,
}

// serveSTS answers in the query protocol.
func (s *Sim) serveSTS(w http.ResponseWriter, c *call) {
	form, err := url.ParseQuery(string(c.body))
	action := form.Get("Action")
	run := stsActions[action]
	if err != nil || run == nil || form.Get("Version") != "2011-06-15" {
		noOperation("the STS action " + clip(action, 64)).writeQuery(w)
		return
	}
	id := w.Header().Get("x-amzn-RequestId")
	s.perform(w, c, action, func() (any, error) { return run(c, form, id) }, func(v any, e *apiError) {
		if e != nil {
			e.writeQuery(w)
			return
		}
		writeXML(w, http.StatusOK, v)
	})
}

func getCallerIdentity(c *call, _ url.Values, requestID string) (any, error) {
	return callerIdentity{
		Result:    callerResult{ARN: c.caller.arn, UserID: c.caller.userID, Account: c.caller.account.ID},
		RequestID: requestID,
	}, nil
}

func stsInvalid(message string) *apiError {
	return &apiError{code: "ValidationError", status: http.StatusBadRequest, message: message}
}

// assumeRole gives credentials for the account that the role's ARN names. Any
// role of an account that exists may be assumed by anybody: roles and their trust
// policies are not simulated. A session policy would have to be enforced, and a
// session tag be seen by policies, so requests with these are refused.
func assumeRole(c *call, form url.Values, requestID string) (any, error) {
	for name := range form {
		switch name {
		case "Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "ExternalId":
		default:
			return nil, noOperation("the parameter " + clip(name, 64) + " of AssumeRole")
		}
	}
	session := form.Get("RoleSessionName")
	if !sessionName.MatchString(session) {
		return nil, stsInvalid("roleSessionName must have 2 to 64 letters, digits or _+=,.@-")
	}
	if id := form.Get("ExternalId"); form.Has("ExternalId") && (len(id) < 2 || len(id) > 1224) {
		return nil, stsInvalid("externalId must have 2 to 1224 characters")
	}
	m := roleARN.FindStringSubmatch(form.Get("RoleArn"))
	if m == nil {
		return nil, stsInvalid(clip(form.Get("RoleArn"), 200) + " is invalid: not the ARN of a role")
	}
	length := defaultSession
	if v := form.Get("DurationSeconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < int(minSession/time.Second) || n > int(maxSession/time.Second) {
			return nil, stsInvalid("durationSeconds must be between 900 and 43200, not " + clip(v, 16))
		}
		length = time.Duration(n) * time.Second
	}
	if c.caller.temporary() && length > maxChained {
		return nil, stsInvalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	for _, a := range c.w.sim.cfg.Accounts {
		if a.ID != m[1] {
			continue
		}
		now := c.w.now()
		name := "arn:aws:sts::" + a.ID + ":assumed-role/" + m[3] + "/" + session
		cred, err := c.w.sim.keys.lend(a, name, roleID(m[0]), now, now.Add(length), session)
		if err != nil {
			return nil, err
		}
		return assumedRole{
			ARN: name, RoleID: cred.userID, Key: cred.key, Secret: cred.secret, Token: cred.token,
			Expires: cred.expires.UTC().Format(time.RFC3339), RequestID: requestID,
		}, nil
	}
	return nil, &apiError{code: "AccessDenied", status: http.StatusForbidden,
		message: "User: " + c.caller.arn + " is not authorized to perform: sts:AssumeRole on resource: " + m[0]}
}

// roleID is the unique id of a role, the same in every run.
func roleID(arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return "AROA" + strings.TrimRight(base32.StdEncoding.EncodeToString(sum[:]), "=")[:17]
}

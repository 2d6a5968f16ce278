package awssim

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
)

func (s *Sim) sts(key, secret, token string) *sts.Client {
	return sts.New(sts.Options{
		Region: region, BaseEndpoint: aws.String(s.ControlURL()), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
	})
}

// clock is a Config.Now that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestAssumeRole(t *testing.T) {
	clk := &clock{at: time.Now()}
	s := startSim(t, func(c *Config) { c.Now = clk.now })
	base := s.sts(first.AccessKeyID, first.SecretAccessKey, "")
	assume := func(c *sts.Client, role string, change ...func(*sts.AssumeRoleInput)) (*sts.AssumeRoleOutput, error) {
		in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("mintmark")}
		for _, f := range change {
			f(in)
		}
		return c.AssumeRole(ctx, in)
	}
	role := "arn:aws:iam::" + second.ID + ":role/path/registrar"
	out, err := assume(base, role, func(in *sts.AssumeRoleInput) {
		in.DurationSeconds, in.ExternalId = aws.Int32(900), aws.String("shared-secret")
	})
	wantCode(t, err, "")
	wantARN := "arn:aws:sts::" + second.ID + ":assumed-role/registrar/mintmark"
	if *out.AssumedRoleUser.Arn != wantARN || !out.Credentials.Expiration.Equal(clk.now().Add(15*time.Minute).Truncate(time.Second)) {
		t.Errorf("assumed %+v until %s", *out.AssumedRoleUser.Arn, out.Credentials.Expiration)
	}
	cr := out.Credentials
	caller, err := s.sts(*cr.AccessKeyId, *cr.SecretAccessKey, *cr.SessionToken).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *caller.Account != second.ID || *caller.Arn != wantARN {
		t.Errorf("caller: %+v %v", caller, err)
	}
	// What the role registers is in the role's account.
	client := func(key, secret, token string) *iot.Client {
		return s.client(Account{AccessKeyID: key, SecretAccessKey: secret}, region, token)
	}
	temporary := client(*cr.AccessKeyId, *cr.SecretAccessKey, *cr.SessionToken)
	_, err = temporary.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("press")})
	wantCode(t, err, "")
	_, err = s.client(second, region).DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("press")})
	wantCode(t, err, "")
	_, err = s.client(first, region).DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("press")})
	wantCode(t, err, "ResourceNotFoundException")

	for _, c := range []*iot.Client{client(*cr.AccessKeyId, *cr.SecretAccessKey, ""), client(*cr.AccessKeyId, *cr.SecretAccessKey, "guess")} {
		_, err = c.ListThings(ctx, &iot.ListThingsInput{})
		wantCode(t, err, "InvalidClientTokenId")
	}
	_, err = client(*cr.AccessKeyId, "guess", *cr.SessionToken).ListThings(ctx, &iot.ListThingsInput{})
	wantCode(t, err, "SignatureDoesNotMatch")

	// Chaining is bound to an hour.
	chained := s.sts(*cr.AccessKeyId, *cr.SecretAccessKey, *cr.SessionToken)
	_, err = assume(chained, role, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) })
	wantCode(t, err, "ValidationError")
	_, err = assume(chained, "arn:aws:iam::"+first.ID+":role/other")
	wantCode(t, err, "")

	for name, tt := range map[string]struct {
		role   string
		change func(*sts.AssumeRoleInput)
		code   string
	}{
		"unknown account":  {"arn:aws:iam::999999999999:role/x", func(*sts.AssumeRoleInput) {}, "AccessDenied"},
		"a user":           {"arn:aws:iam::" + second.ID + ":user/x", func(*sts.AssumeRoleInput) {}, "ValidationError"},
		"too short":        {role, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(899) }, "ValidationError"},
		"too long":         {role, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(43201) }, "ValidationError"},
		"session name":     {role, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError"},
		"external id":      {role, func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("x") }, "ValidationError"},
		"a session policy": {role, func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{}") }, "SimulatorNotImplemented"},
		"tags": {role, func(in *sts.AssumeRoleInput) {
			in.Tags = []ststypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
		}, "SimulatorNotImplemented"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := assume(base, tt.role, tt.change)
			wantCode(t, err, tt.code)
		})
	}

	// The clients' own clocks stand still, within the skew of signatures.
	clk.add(14 * time.Minute)
	_, err = temporary.ListThings(ctx, &iot.ListThingsInput{})
	wantCode(t, err, "")
	clk.add(time.Minute - time.Second)
	_, err = temporary.ListThings(ctx, &iot.ListThingsInput{})
	wantCode(t, err, "")
	clk.add(time.Second)
	_, err = temporary.ListThings(ctx, &iot.ListThingsInput{})
	wantCode(t, err, "ExpiredTokenException")
	_, err = chained.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	wantCode(t, err, "ExpiredToken")
}

// TestByCommandLine lets the aws command judge what this file and its neighbours
// answer.
func TestByCommandLine(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the command line client")
	}
	dir := t.TempDir()
	s := startSim(t, func(c *Config) { c.Buckets = map[string]string{"input": dir} })
	out := mustCLI(t, s, "sts", "assume-role", "--role-arn", "arn:aws:iam::"+second.ID+":role/r", "--role-session-name", "cli",
		"--query", "[Credentials.SessionToken!=null, AssumedRoleUser.Arn]")
	if want := "True\tarn:aws:sts::" + second.ID + ":assumed-role/r/cli"; out != want {
		t.Errorf("assume-role: %q, want %q", out, want)
	}
	name := keyed(t, s.tables(first), "manifest")
	write := []string{"dynamodb", "transact-write-items", "--transact-items",
		`[{"Put":{"TableName":"manifest","Item":{"pk":{"S":"taken"}},"ConditionExpression":"attribute_not_exists(pk)"}},
		{"Update":{"TableName":"manifest","Key":{"pk":{"S":"used"}},"UpdateExpression":"SET n = if_not_exists(n, :z) + :one","ExpressionAttributeValues":{":z":{"N":"0"},":one":{"N":"1"}}}}]`}
	mustCLI(t, s, write...)
	if _, err := awsCLI(t, s, write...); err == nil || !strings.Contains(err.Error(), "TransactionCanceledException") || !strings.Contains(err.Error(), "[ConditionalCheckFailed, None]") {
		t.Errorf("the second transaction: %v", err)
	}
	got, err := s.tables(first).GetItem(ctx, &dynamodb.GetItemInput{TableName: name, Key: row{"pk": str("used")}})
	if err != nil || got.Item["n"].(*types.AttributeValueMemberN).Value != "1" {
		t.Errorf("the counter: %+v %v", got, err)
	}
	writeFile(t, dir, "devices.json", `{"Name":"press"}`)
	id := mustCLI(t, s, "iot", "start-thing-registration-task", "--input-file-bucket", "input", "--input-file-key", "devices.json",
		"--role-arn", "arn:aws:iam::111122223333:role/bulk", "--query", "taskId", "--template-body", bulkThings)
	if len(id) != 36 {
		t.Errorf("start-thing-registration-task: %q", id)
	}
}

func TestSessionsExpire(t *testing.T) {
	keys := newKeyring([]Account{first})
	now := time.Now()
	c, err := keys.lend(first, "arn", "AROA", now, now.Add(time.Hour), "s")
	if err != nil {
		t.Fatal(err)
	}
	if got, e := keys.find(c.key, c.token, now.Add(time.Hour-1)); e != nil || got.account != first {
		t.Errorf("in time: %v", e)
	}
	if _, e := keys.find(c.key, c.token, now.Add(time.Hour)); e == nil || e.code != "ExpiredTokenException" {
		t.Errorf("after the end: %v", e)
	}
	for range maxSessions - 1 {
		if _, err := keys.lend(first, "arn", "AROA", now, now.Add(time.Hour), "s"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keys.lend(first, "arn", "AROA", now, now.Add(time.Hour), "s"); err == nil {
		t.Error("one session too many")
	}
	if _, err := keys.lend(first, "arn", "AROA", now.Add(time.Hour), now.Add(2*time.Hour), "s"); err != nil {
		t.Errorf("expired sessions make no room: %v", err)
	}
}

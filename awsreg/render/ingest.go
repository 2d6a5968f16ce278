package render

import (
	"errors"
	"fmt"
	"strings"

	"mintmark/internal/pattern"
)

// Ingest is a bucket with three topic rules that store what devices send.
type Ingest struct {
	Bucket string
	Rule   string // what the names of the rules begin with
	Topic  string // what the topics begin with
}

// ingestRules is how many rules ingest.yaml has.
const ingestRules = 3

var (
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	bucketPattern = pattern.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	rulePattern   = pattern.New(`^[a-zA-Z0-9_]{1,120}$`)
	topicPattern  = pattern.New(`^[a-zA-Z0-9_-]{1,100}$`)
)

func (i Ingest) check() error {
	switch {
	case !bucketPattern.MatchString(i.Bucket) || strings.Contains(i.Bucket, ".."):
		return fmt.Errorf("rendering the rules into S3: ingest.bucket %q is not the name of a bucket", i.Bucket)
	case !rulePattern.MatchString(i.Rule):
		return errors.New("rendering the rules into S3: ingest.rule must be 1 to 120 letters, digits and underscores")
	case !topicPattern.MatchString(i.Topic):
		return errors.New("rendering the rules into S3: ingest.topic must be 1 to 100 letters, digits, hyphens and underscores")
	}
	return nil
}

// role is the name of the role that the rules assume.
func (i Ingest) role() string { return i.Rule + "_store" }

func (i Ingest) parameters() map[string]string {
	return map[string]string{"BucketName": i.Bucket, "RulePrefix": i.Rule, "TopicPrefix": i.Topic, "RuleRoleName": i.role()}
}

// ingestRule is one rule of ingest.yaml as the aws command takes it.
type ingestRule struct {
	name    string
	payload map[string]any
}

func (in Input) ingestRules() []ingestRule {
	if in.Ingest == nil {
		return nil
	}
	i := *in.Ingest
	partition := "aws"
	if rest, ok := strings.CutPrefix(in.Target.Region, "cn-"); ok && rest != "" {
		partition = "aws-cn"
	} else if strings.HasPrefix(in.Target.Region, "us-gov-") {
		partition = "aws-us-gov"
	}
	role := fmt.Sprintf("arn:%s:iam::%s:role/%s", partition, in.Target.AccountID, i.role())
	var list []ingestRule
	for n := 1; n <= ingestRules; n++ {
		list = append(list, ingestRule{fmt.Sprintf("%s_rule%d", i.Rule, n), map[string]any{
			"awsIotSqlVersion": "2016-03-23",
			"sql":              fmt.Sprintf("SELECT * FROM '%s/rule%d'", i.Topic, n),
			"ruleDisabled":     false,
			"actions":          []any{map[string]any{"s3": map[string]any{"bucketName": i.Bucket, "key": "${topic()}/${timestamp()}", "roleArn": role}}},
			"errorAction":      map[string]any{"republish": map[string]any{"topic": i.Topic + "/failed", "roleArn": role}},
		}})
	}
	return list
}

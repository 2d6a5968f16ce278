package awssim

import "strings"

// ruleAction is one of the actions that the simulator runs: exactly one member is
// set.
type ruleAction struct {
	Lambda    *lambdaAction    `json:"lambda,omitempty"`
	Republish *republishAction `json:"republish,omitempty"`
	S3        *s3Action        `json:"s3,omitempty"`
}

type lambdaAction struct {
	FunctionARN string `json:"functionArn"`
}

type republishAction struct {
	RoleARN string `json:"roleArn"`
	Topic   string `json:"topic"`
	QoS     int    `json:"qos"`
}

type s3Action struct {
	RoleARN    string `json:"roleArn"`
	BucketName string `json:"bucketName"`
	Key        string `json:"key"`
	CannedACL  string `json:"cannedAcl,omitempty"`
}

// cannedACLs are the values of cannedAcl (service model of IoT,
// CannedAccessControlList).
const cannedACLs = " private public-read public-read-write aws-exec-read authenticated-read bucket-owner-read bucket-owner-full-control log-delivery-write "

// preparedAction is an action with its substitution templates parsed.
type preparedAction struct {
	lambda string
	topic  *substitution // republish
	qos    byte
	bucket *substitution // S3
	key    *substitution
}

// prepare checks an action and parses its substitution templates.
func (a ruleAction) prepare(version string) (preparedAction, error) {
	n := 0
	for _, set := range []bool{a.Lambda != nil, a.Republish != nil, a.S3 != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return preparedAction{}, invalid("an action is exactly one of lambda, republish and s3")
	}
	switch {
	case a.Lambda != nil:
		return a.Lambda.prepare()
	case a.Republish != nil:
		return a.Republish.prepare(version)
	}
	return a.S3.prepare(version)
}

// prepare takes the ARN as it is. AWS documents that it may be a substitution
// template; which functions that reaches would show only with the first message.
func (a *lambdaAction) prepare() (preparedAction, error) {
	if strings.Contains(a.FunctionARN, "${") {
		return preparedAction{}, noOperation("substitution templates in the ARN of a function")
	}
	if functionOf(a.FunctionARN) == "" {
		return preparedAction{}, invalid("%q is not the ARN of a Lambda function", clip(a.FunctionARN, 200))
	}
	return preparedAction{lambda: a.FunctionARN}, nil
}

func (a *republishAction) prepare(version string) (preparedAction, error) {
	if a.RoleARN == "" || a.Topic == "" {
		return preparedAction{}, invalid("republish needs roleArn and topic")
	}
	if a.QoS < 0 || a.QoS > 1 {
		return preparedAction{}, invalid("republish needs a qos of 0 or 1")
	}
	topic, err := parseSubstitution(a.Topic, version)
	if err != nil {
		return preparedAction{}, err
	}
	if text, ok := topic.constant(); ok {
		if why := refuseTopic(text); why != "" {
			return preparedAction{}, invalid("republish: %s", why)
		}
	}
	return preparedAction{topic: topic, qos: byte(a.QoS)}, nil
}

// refuseTopic says why a rule cannot republish to a topic. To a reserved one it
// could at AWS, written with $$ (AWS IoT developer guide, republish-rule-action);
// none of the services behind them is here.
func refuseTopic(topic string) string {
	switch {
	case topic == "" || len(topic) > maxTopic || strings.Count(topic, "/") > maxSlashes:
		return "the topic is empty, too long or has too many levels"
	case strings.ContainsAny(topic, "+#\x00"):
		return "the topic has a wildcard"
	case strings.HasPrefix(topic, "$"):
		return "this AWS simulator does not republish to reserved topics"
	}
	return ""
}

func (a *s3Action) prepare(version string) (preparedAction, error) {
	if a.RoleARN == "" || a.BucketName == "" || a.Key == "" {
		return preparedAction{}, invalid("s3 needs roleArn, bucketName and key")
	}
	if a.CannedACL != "" && !strings.Contains(cannedACLs, " "+a.CannedACL+" ") {
		return preparedAction{}, invalid("cannedAcl %q is not a canned ACL", clip(a.CannedACL, 64))
	}
	bucket, err := parseSubstitution(a.BucketName, version)
	if err != nil {
		return preparedAction{}, err
	}
	key, err := parseSubstitution(a.Key, version)
	if err != nil {
		return preparedAction{}, err
	}
	return preparedAction{bucket: bucket, key: key}, nil
}

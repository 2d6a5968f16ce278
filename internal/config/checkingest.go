package config

import "mintmark/internal/pattern"

var (
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	bucketName  = pattern.New(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)*[a-z0-9]$`)
	ingestTopic = pattern.New(`^[a-zA-Z0-9_-]{1,100}$`)
)

func (t AWSTarget) checkIngest(bad report) {
	i := t.Ingest
	if i == nil {
		return
	}
	if len(i.Bucket) < 3 || len(i.Bucket) > 63 || !bucketName.MatchString(i.Bucket) {
		bad(".ingest.bucket", "%q is no name of a bucket: 3 to 63 small letters, digits, hyphens and dots", i.Bucket)
	}
	if !ruleName.MatchString(i.Rule) || len(i.Rule) > 120 {
		bad(".ingest.rule", "%q cannot begin the names of topic rules: 1 to 120 letters, digits and underscores", i.Rule)
	}
	if !ingestTopic.MatchString(i.Topic) {
		bad(".ingest.topic", "%q is no first part of a topic: 1 to 100 letters, digits, _ and -", i.Topic)
	}
}

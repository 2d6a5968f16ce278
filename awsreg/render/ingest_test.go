package render_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestIngest: the documents for the aws command are the rules of ingest.yaml.
func TestIngest(t *testing.T) {
	got := files(t, everything())
	var stack struct {
		Resources map[string]struct {
			Type       string `yaml:"Type"`
			Properties struct {
				RuleName string `yaml:"RuleName"`
				Payload  struct {
					Version string `yaml:"AwsIotSqlVersion"`
					SQL     string `yaml:"Sql"`
					Actions []struct {
						S3 struct {
							Bucket string `yaml:"BucketName"`
							Key    string `yaml:"Key"`
						} `yaml:"S3"`
					} `yaml:"Actions"`
					Error struct {
						Republish struct {
							Topic string `yaml:"Topic"`
						} `yaml:"Republish"`
					} `yaml:"ErrorAction"`
				} `yaml:"TopicRulePayload"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal([]byte(got["ingest.yaml"]), &stack); err != nil {
		t.Fatal(err)
	}
	substitute := strings.NewReplacer("${RulePrefix}", "test_rule", "${TopicPrefix}", "test-rule").Replace
	rules := 0
	for _, r := range stack.Resources {
		if r.Type != "AWS::IoT::TopicRule" {
			continue
		}
		rules++
		p := r.Properties.Payload
		var document struct {
			SQL, AwsIotSqlVersion string
			Actions               []struct {
				S3 struct{ BucketName, Key, RoleArn string }
			}
			ErrorAction struct{ Republish struct{ Topic string } }
		}
		name := substitute(r.Properties.RuleName)
		if err := json.Unmarshal([]byte(got["documents/"+name+".rule.json"]), &document); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := fmt.Sprint(substitute(p.SQL), p.Version, p.Actions[0].S3.Key, substitute(p.Error.Republish.Topic))
		have := fmt.Sprint(document.SQL, document.AwsIotSqlVersion, document.Actions[0].S3.Key, document.ErrorAction.Republish.Topic)
		if want != have {
			t.Errorf("%s: the stack has %s, the document %s", name, want, have)
		}
		if document.Actions[0].S3.BucketName != "messages.example" || document.Actions[0].S3.RoleArn != "arn:aws:iam::123456789012:role/test_rule_store" {
			t.Errorf("%s: %+v", name, document.Actions[0].S3)
		}
	}
	if rules != 3 {
		t.Errorf("%d rules", rules)
	}
}

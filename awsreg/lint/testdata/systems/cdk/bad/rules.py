# Basic Ingest: what pumps measure goes past the broker, straight into S3.
from aws_cdk import Stack, aws_iam as iam, aws_iot as iot, aws_s3 as s3


class RuleStack(Stack):
    def __init__(self, scope, construct_id, **kwargs):
        super().__init__(scope, construct_id, **kwargs)
        bucket = s3.Bucket(self, "Messages")
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        bucket.grant_put(role)
        for key in ["rule1", "rule2", "rule3"]:
            iot.CfnTopicRule(
                self,
                "Rule" + key,
                rule_name="pump_" + key,
                topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                    sql=f"SELECT * FROM 'pumps/{key}'",
                    actions=[
                        iot.CfnTopicRule.ActionProperty(
                            s3=iot.CfnTopicRule.S3ActionProperty(
                                bucket_name=bucket.bucket_name,
                                key="${topic()}/${timestamp()}",
                                role_arn=role.role_arn,
                            )
                        )
                    ],
                ),
            )

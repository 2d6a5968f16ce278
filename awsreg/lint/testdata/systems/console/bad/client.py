import json

CREATE = "$aws/certificates/create/json"


class Provisioner:
    def __init__(self, connection, template):
        self.connection = connection
        self.topic = "$aws/provisioning-templates/{}/provision/json".format(template)

    def ask(self):
        self.connection.publish(topic=CREATE, payload=json.dumps({}))

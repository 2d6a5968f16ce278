import json

CREATE = "$aws/certificates/create-from-csr/json"


class Provisioner:
    def __init__(self, connection, template, csr):
        self.connection = connection
        self.csr = csr
        self.topic = "$aws/provisioning-templates/{}/provision/json".format(template)

    def ask(self):
        self.connection.publish(topic=CREATE, payload=json.dumps({"certificateSigningRequest": self.csr}))

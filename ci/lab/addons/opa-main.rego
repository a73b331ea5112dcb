# Answers the API server's question with what data.kubernetes.admission.deny says.
package system

import rego.v1

main := {
  "apiVersion": "admission.k8s.io/v1",
  "kind": "AdmissionReview",
  "response": response,
}

reasons := concat(", ", data.kubernetes.admission.deny)

response := {"uid": input.request.uid, "allowed": true} if {
  reasons == ""
} else := {"uid": input.request.uid, "allowed": false, "status": {"message": reasons}}

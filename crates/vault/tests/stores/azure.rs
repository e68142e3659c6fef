//! What the object store client cannot ask Azure for.

use object_store::{
    ClientOptions,
    azure::{AzureAccessKey, AzureAuthorizer, AzureCredential},
    client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector},
};
use testkit::stores::AzureServer;

/// Makes a container (Create Container, in the REST API of Azure Blob).
pub async fn create_container(server: &AzureServer, name: &str) {
    let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(server.key()).unwrap());
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = "PUT".parse().unwrap();
    *request.uri_mut() = format!("{}/{name}?restype=container", server.endpoint()).parse().unwrap();
    request.headers_mut().insert("content-length", 0.into());
    AzureAuthorizer::new(&credential, AzureServer::ACCOUNT).try_authorize(&mut request).unwrap();
    let client = ReqwestConnector::default().connect(&ClientOptions::new().with_allow_http(true)).unwrap();
    let answer = client.execute(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 201, "{answer:?}");
}

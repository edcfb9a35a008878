// Shows this service's own OpenAPI document, and asks nobody else.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  // A key stays in this tab's memory.
  persistAuthorization: false,
  validatorUrl: null,
});
